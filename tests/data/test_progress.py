import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidemill.data.ingest import ingest_pending
from tidemill.data.progress import ProgressWriter, Step, position, progress_of
from tidemill.home import CHECKOUT, Home
from tidemill.project import Project
from tidemill.store.state import State

KILLED = """
import os, sys, time
from pathlib import Path
from tidemill.data.progress import ProgressWriter, Step
from tidemill.home import Home
with ProgressWriter(Home(Path(sys.argv[1])), "shop") as tell:
    tell(Step("a" * 16, "a.csv", "reading", 5, Path("/none"), 10))
    print("told", flush=True)
    time.sleep(60)
"""


def step(phase: Any = "reading", rows: int = 0, path: Path = Path("/none")) -> Step:
    return Step("a" * 16, "a.csv", phase, rows, path, 10)


def test_an_ingestion_tells_its_steps(
    home: Home, state: State, shop: Project, drop: Callable[..., Path]
) -> None:
    drop("a.csv", *(f"c{row},30,1.5,plus,yes,2026-01-02,no" for row in range(50_000)))
    size = (home.inbox("shop") / "a.csv").stat().st_size
    steps: list[Step] = []
    seen: list[dict[str, Any]] = []
    with ProgressWriter(home, "shop") as tell:

        def watched(now: Step) -> None:
            tell._next = 0.0  # every step, not four a second
            tell(now)
            steps.append(now)
            seen.append(progress_of(home, "shop") or {})

        outcome = ingest_pending(home, state, shop, watched).files[0]
    assert [now.phase for now in steps if now.phase != "reading"] == ["opening", "publishing"]
    assert {now.file for now in steps} == {outcome.id}
    assert (seen[-1]["rows"], seen[-1]["bytes"], seen[-1]["share"]) == (50_000, size, 1.0)
    reading = [found["bytes"] for found in seen if found["phase"] == "reading"]
    if sys.platform == "linux":
        assert all(0 < read <= size for read in reading if read is not None)
        assert any(read is not None for read in reading)
    assert [now.rows for now in steps] == sorted(now.rows for now in steps)
    assert progress_of(home, "shop") is None
    assert list((home.store("shop") / "progress").iterdir()) == []


def test_it_is_told_four_times_a_second_and_at_each_phase(home: Home) -> None:
    def rows() -> int:
        return (progress_of(home, "shop") or {})["rows"]

    with ProgressWriter(home, "shop") as tell:
        tell(step(rows=1))
        tell(step(rows=2))
        assert rows() == 1
        tell(step("publishing", rows=3))
        assert rows() == 3
        tell._next = 0.0
        tell(step("publishing", rows=4))
        assert rows() == 4


def test_what_a_killed_run_left_is_no_progress(home: Home) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(home.root)], cwd=CHECKOUT, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"told\n"
        assert (progress_of(home, "shop") or {})["rows"] == 5
        child.send_signal(signal.SIGKILL)
        child.wait()
        folder = home.store("shop") / "progress"
        assert len(list(folder.iterdir())) == 1
        assert progress_of(home, "shop") is None
        with ProgressWriter(home, "shop"):
            assert list(folder.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "{}", '{"pid": 1}'])
def test_what_cannot_be_read_is_no_progress(home: Home, text: str) -> None:
    folder = home.store("shop") / "progress"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text(text)
    assert progress_of(home, "shop") is None


def test_a_used_again_pid_is_another_process(home: Home) -> None:
    with ProgressWriter(home, "shop") as tell:
        tell(step())
        assert progress_of(home, "shop") is not None
        told = json.loads(tell.file.read_text())
        tell.file.write_text(json.dumps(told | {"create_time": told["create_time"] - 100}))
        assert progress_of(home, "shop") is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how far a file was read")
def test_how_far_an_open_file_was_read(tmp_path: Path) -> None:
    file = tmp_path / "a b.csv"
    file.write_bytes(b"x" * 100)
    assert position(file) is None
    with file.open("rb", buffering=0) as handle:
        handle.read(40)
        assert position(file) == 40
    assert position(file) is None
