"""Installing Label Studio: an installation that was cut off is begun anew, never taken for a whole one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tidemill.errors import NotReady
from tidemill.home import CHECKOUT
from tidemill.ops import label_studio

# Stands for uv: makes the program half-way through, and writes down when it began and ended.
UV = """#!/bin/sh
echo "$1 begins" >> "$NOTES"
if [ "$1" = venv ]; then
    for target; do :; done
    mkdir -p "$target/bin"
else
    target=$(dirname "$(dirname "$4")")
    echo program > "$target/bin/label-studio"
    while [ -e "$SLOW" ]; do sleep 0.05; done
    [ ! -e "$FAIL" ] || exit 3
fi
echo "$1 ends" >> "$NOTES"
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(UV)
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uv.parent}:{os.environ['PATH']}")
    for name in ("NOTES", "SLOW", "FAIL"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return tmp_path / "env"


def notes(target: Path) -> list[str]:
    file = target.parent / "notes"
    return file.read_text().splitlines() if file.exists() else []


def wait_for(target: Path, line: str) -> None:
    until = time.monotonic() + 30
    while line not in notes(target):
        assert time.monotonic() < until
        time.sleep(0.02)


WHOLE = ["venv begins", "venv ends", "pip begins", "pip ends"]


def test_what_is_whole_is_installed_once(target: Path) -> None:
    for _ in range(2):
        assert label_studio.install(target) == target / "bin" / "label-studio"
    assert notes(target) == WHOLE


def test_what_failed_or_is_of_another_lock_is_begun_anew(target: Path) -> None:
    (target.parent / "fail").touch()
    with pytest.raises(NotReady, match="could not be installed"):
        label_studio.install(target)
    (target.parent / "fail").unlink()
    label_studio.install(target)
    (target / ".tidemill-stamp").write_text("another lock")
    (target / "left-over").touch()
    label_studio.install(target)
    assert notes(target)[-4:] == WHOLE
    assert not (target / "left-over").exists()


@pytest.mark.parametrize("installer_dies", [True, False])
def test_an_installation_that_was_killed_is_begun_anew(target: Path, installer_dies: bool) -> None:
    """With kill -9 in the middle, of us alone or of the installer too; one that lives on is waited for."""
    slow = target.parent / "slow"
    slow.touch()
    code = "from pathlib import Path; from tidemill.ops.label_studio import install; "
    code += f"install(Path({str(target)!r}))"
    first = subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, start_new_session=True)
    wait_for(target, "pip begins")
    if installer_dies:
        os.killpg(first.pid, signal.SIGKILL)
    else:
        first.kill()
    first.wait()
    assert not (target / ".tidemill-stamp").exists()
    second = subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, start_new_session=True)
    try:
        if not installer_dies:
            time.sleep(1.0)
            assert notes(target) == WHOLE[:3]  # nothing was taken away under the installer's hands
        slow.unlink()
        assert second.wait(60) == 0
    finally:
        second.kill()
        second.wait()
    cut_off = WHOLE[:3] if installer_dies else WHOLE
    assert notes(target) == [*cut_off, *WHOLE]
    assert (target / ".tidemill-stamp").exists()
