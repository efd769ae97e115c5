"""kill -9 at many points of an ingestion: afterwards all of a file is in the table, or none of it; and the next run
brings every file in, once."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tidemill.data import ledger
from tidemill.data.ingest import ingest_pending
from tidemill.home import Home
from tidemill.project import Project, load_project
from tidemill.store.state import open_state
from tidemill.store.tables import TableStore

POINTS = 13  # of each scenario; of the ingestions together 50
HEADER = "id,age,spend,plan,member,seen,churn"
A0, A1, A2 = "a0,40,9.5,basic,yes,,no", "a1,41,9.5,basic,yes,,no", "a2,42,9.5,plus,yes,,yes"
BAD = "a9,old,1,basic,,,no"
INTEGER, FLOAT = "age: {type: integer", "age: {type: float"

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Scenario:
    """What is in the table before, what waits, and what the table may hold when the process has ended."""

    before: list[tuple[str, list[str]]]
    waiting: list[tuple[str, list[str]]]
    legal: list[Rows]
    change: tuple[str, str] = ("", "")
    action: str = "ingest"
    refused: tuple[str, ...] = ()
    points: int = POINTS

    @property
    def wanted(self) -> Rows:
        return self.legal[-1]


def row(line: str, kind: str = "int64", age: int | None = None) -> tuple[Any, ...]:
    cells = line.split(",")
    return cells[0], kind, float(cells[1]) if age is None else float(age)


SCENARIOS = {
    "append": Scenario(
        before=[("zero.csv", [A0])],
        waiting=[("one.csv", [A1, BAD]), ("two.csv", [A2])],
        legal=[[row(A0)], [row(A0), row(A1)], [row(A0), row(A1), row(A2)]],
        points=24,
    ),
    "upsert": Scenario(
        before=[("zero.csv", [A0, A1])],
        waiting=[("one.csv", [A1.replace("41", "51"), A2])],
        legal=[[row(A0), row(A1)], [row(A0), row(A1, age=51), row(A2)]],
        change=("rejects:", "ingestion: {mode: upsert}\nrejects:"),
    ),
    "follow contract": Scenario(
        before=[("zero.csv", [A0, BAD]), ("one.csv", [A1])],
        waiting=[("two.csv", [A2])],
        legal=[
            [row(A0), row(A1)],
            [row(A0, "double"), row(A1, "double")],
            [row(A0, "double"), row(A1, "double"), row(A2, "double")],
        ],
        change=(INTEGER, FLOAT),
    ),
    "rollback": Scenario(
        before=[("zero.csv", [A0]), ("one.csv", [A1])],
        waiting=[],
        legal=[[row(A0), row(A1)], [row(A0)]],
        action="rollback",
        refused=("one.csv",),
    ),
}


class Warm:
    """Does things to homes, each in a child of a process that has everything imported; from several threads."""

    def __init__(self, processes: "list[subprocess.Popen[str]]") -> None:
        self.free: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        for process in processes:
            self.free.put(process)

    def __call__(self, home: Path, action: str, at: int = 0) -> dict[str, Any]:
        process = self.free.get()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"home": str(home), "action": action, "at": at}) + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        self.free.put(process)
        return answer


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    command, pipe = [sys.executable, str(Path(__file__).with_name("killed.py"))], subprocess.PIPE
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
            for _ in range(2)
        ]
        yield Warm(processes)
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=30) == 0


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a killed process loses nothing that was written, synced or not, and
    thousands of syncs of a busy disk take minutes."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


def drop(home: Home, name: str, lines: list[str]) -> None:
    path = home.inbox("shop") / name
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    # One after the other, in the order of their times.
    past = 1_000_000 + len(list(home.inbox("shop").iterdir()))
    os.utime(path, (past, past))


@pytest.fixture
def scene(home: Home, shop: Project, request: pytest.FixtureRequest) -> tuple[Home, Scenario]:
    """The home as it is before the action."""
    scenario = SCENARIOS[request.param]
    state = open_state(home)
    for name, lines in scenario.before:
        drop(home, name, lines)
        ingest_pending(home, state, shop)
    state.engine.dispose()
    file = home.project_file("shop")
    file.write_text(file.read_text().replace(*scenario.change))
    for name, lines in scenario.waiting:
        drop(home, name, lines)
    return home, scenario


def table(home: Home) -> Rows:
    """(id, type of age, age) of each row that readers get; every byte of the version is checked."""
    version = TableStore(home.tables("shop")).require("raw")
    version.verify()
    kind = version.schema["age"]
    return sorted((each["id"], kind, float(each["age"])) for each in version.to_arrow().to_pylist())


def check_whole(home: Home, scenario: Scenario) -> None:
    """Every file is in, once, with its rejects; nothing is left aside."""
    assert table(home) == scenario.wanted
    state = open_state(home)
    records = {each["name"]: each for each in ledger.list_files(state, "shop")}
    state.engine.dispose()
    files = dict(scenario.before) | dict(scenario.waiting)
    statuses = {name: "refused" if name in scenario.refused else "accepted" for name in files}
    assert {name: each["status"] for name, each in records.items()} == statuses
    for name, lines in files.items():
        bad = [line for line in lines if line == BAD]
        found = records[name]
        assert (found["rows"], found["rejected"]) == (len(lines), len(bad))
        listed = ledger.rejects_file(home, "shop", found["id"]).read_text().splitlines()
        assert len(listed) == 1 + len(bad)
    store = home.store("shop")
    assert not list(home.inbox("shop").iterdir())
    assert len(list(home.files("shop").iterdir())) == len(files)
    assert sorted(path.name for path in (store / "rejects").iterdir()) == sorted(
        f"{each['id']}.csv" for each in records.values()
    )


@pytest.mark.parametrize("scene", list(SCENARIOS), indirect=True)
def test_a_killed_run_leaves_all_of_a_file_or_none(
    scene: tuple[Home, Scenario], warm: Warm, memory: Path
) -> None:
    home, scenario = scene

    def copy(name: str) -> Home:
        shutil.copytree(home.root, memory / name, symlinks=True)
        return Home(memory / name)

    unharmed = copy("unharmed")
    done = warm(unharmed.root, scenario.action)
    assert done["code"] == 0
    check_whole(unharmed, scenario)
    total = len(done["operations"])
    assert total >= scenario.points
    last = scenario.points - 1
    points = sorted({1 + round(index * (total - 1) / last) for index in range(scenario.points)})
    assert len(points) == scenario.points

    def kill(at: int) -> None:
        harmed = copy(f"killed-{at}")
        killed = warm(harmed.root, scenario.action, at)
        where = f"killed before operation {at} of {total}: {killed['operations'][-1]}"
        assert killed["signal"] == 9, where
        assert table(harmed) in scenario.legal, where
        if scenario.action == "rollback" and table(harmed) != scenario.wanted:
            assert warm(harmed.root, "rollback")["code"] == 0, where
        assert warm(harmed.root, "ingest")["code"] == 0, where
        check_whole(harmed, scenario)
        shutil.rmtree(harmed.root)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(kill, points))


def test_the_points_cover_every_kind_of_operation(home: Home, shop: Project, warm: Warm) -> None:
    drop(home, "one.csv", [A1, BAD])
    operations = warm(home.root, "ingest")["operations"]
    kinds = {each.split(" /")[0] for each in operations}
    assert {"open", "sync", "rename", "remove", "make folder", "remove folder", "commit"} <= kinds
    assert any(each.startswith("sync") and each.endswith(".parquet") for each in operations)
    for part in ("files/", "rejects/", "current.json", "manifest.json", "inbox/"):
        assert any(part in each for each in operations)
    assert load_project(home, "shop") == shop
