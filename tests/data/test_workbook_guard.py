"""Workbooks that would take the machine."""

import importlib.util
import resource
import sys
from pathlib import Path

import pytest

from tidemill.data import workbook_guard
from tidemill.data.read import open_source
from tidemill.errors import TooLarge

SPEC = importlib.util.spec_from_file_location("old_workbooks", Path(__file__).with_name("old_workbooks.py"))
assert SPEC is not None
assert SPEC.loader is not None
OLD = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(OLD)
CORNERS = [(0, 0, 1.0), (65_535, 255, 2.0)]
linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux holds a process to its memory"
)


def write(folder: Path, sheets: list[list[tuple[int, int, float]]]) -> Path:
    path = folder / "old.xls"
    path.write_bytes(OLD.old_workbook(sheets))
    return path


def test_the_old_format_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, [[], [(row, column, row + column / 2) for row in range(3) for column in range(3)]])
    workbook_guard.check_memory(workbook_guard.Place(path, "old.xls"), None)
    with pytest.raises(Exception, match="no header"):
        open_source(path)


@linux
def test_cells_in_opposite_corners_of_old_sheets_do_not_take_the_memory(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TooLarge, match="600 MB") as refused:
        open_source(write(tmp_path, [CORNERS] * 20))
    assert refused.value.remedy
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@linux
def test_a_table_of_the_old_format_fits(tmp_path: Path) -> None:
    table = [(row, column, 1.0) for row in range(0, 65_536, 6_000) for column in range(90)]
    path = write(tmp_path, [[*table[:300], (65_535, 89, 2.0)]])
    workbook_guard.check_memory(workbook_guard.Place(path, "old.xls"), None)


def test_a_reading_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook_guard, "TRIAL_SECONDS", 0.01)
    if sys.platform.startswith("linux"):
        with pytest.raises(TooLarge, match="seconds"):
            open_source(write(tmp_path, [CORNERS]))
