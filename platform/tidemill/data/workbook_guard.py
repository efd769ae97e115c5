"""What keeps a hostile workbook from taking the machine: bytes and cells are counted before the reader sees it.

Here belong the bounds on what the general reader may hold. It takes a sheet as the rectangle between its first cell
and its last, empty or not: two cells in opposite corners would be half a terabyte, and end the process. Where a
sheet's XML says how far it reaches, that is measured; the other formats are read once in a process of their own,
which may die of it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
import zlib

from tidemill.data.packed import counted, open_member
from tidemill.data.source import Place
from tidemill.errors import InvalidInput, TooLarge

# A small archive can unpack to far more than any real table.
MAX_UNPACKED = 2_000_000_000
# The reader takes 32 bytes for each.
MAX_CELLS = 30_000_000
# What a trial reading may take beside the interpreter: a full sheet of the old format, 65,536 rows by 256 columns,
# would be more, and a table of 65,536 rows by 90 columns is less.
MAX_MEMORY = 600_000_000
TRIAL_SECONDS = 300
BROKEN = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error, OSError)
# As programs write them; a fixed beginning makes the search several times as fast as for all that XML allows.
COLUMN_LETTERS = re.compile(rb' r="([A-Za-z]{1,3})[0-9]')
ROW_DIGITS = re.compile(rb' r="[A-Za-z]{0,3}([0-9]{1,7})"')
UNUSUAL = (b" r ", b" r='", b" r\t", b" r\r", b" r\n", b"\tr", b"\rr", b"\nr")
ANY_REFERENCE = re.compile(rb"""\sr\s*=\s*["']([A-Za-z]{0,3})([0-9]{1,7})["']""")
CELL_WITHOUT_REFERENCE = re.compile(rb"<c[\s/>]")

TRIAL = """
import resource, sys
from python_calamine import CalamineError, CalamineWorkbook, PasswordError
with open("/proc/self/statm") as numbers:
    size = int(numbers.read().split()[0]) * resource.getpagesize() + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (size, size))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
try:
    book = CalamineWorkbook.from_path(sys.argv[1])
    for name in sys.argv[3:] or book.sheet_names:
        if book.get_sheet_by_name(name).total_height:
            break
except (CalamineError, PasswordError, OSError):
    pass  # The reader says the same to those who ask.
"""


def check_size(place: Place) -> None:
    """Raise TooLarge when the workbook would not fit into memory; InvalidInput when its archive is broken."""
    if not zipfile.is_zipfile(place.path):
        return
    size = 0
    try:
        with zipfile.ZipFile(place.path) as archive:
            for member in archive.infolist():
                extent = _Extent()
                with open_member(archive, member) as handle:
                    for piece in counted(place, handle, size, MAX_UNPACKED):
                        size += len(piece)
                        extent.see(piece)
                        if extent.cells > MAX_CELLS:
                            raise too_many_cells(place, extent.rows, extent.columns)
    except BROKEN as error:
        raise InvalidInput(
            "The workbook cannot be read",
            detail=f"{place.name}: {error}",
            remedy="Open it in a spreadsheet program, save it as .xlsx or CSV, and send that.",
        ) from error


def check_memory(place: Place, sheet: str | None) -> None:
    """Raise TooLarge when the reader would take too much memory for this workbook, or does not come to its end."""
    if not sys.platform.startswith("linux"):
        # Elsewhere a process cannot be held to a limit of memory.
        return
    wanted = [] if sheet is None else [sheet]
    command = [sys.executable, "-I", "-c", TRIAL, str(place.path.absolute()), str(MAX_MEMORY), *wanted]
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TRIAL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _too_much(place, f"reading it took more than {TRIAL_SECONDS} seconds") from error
    if ended.returncode:
        raise _too_much(place, f"reading it would take more than {MAX_MEMORY // 1_000_000} MB of memory")


def _too_much(place: Place, why: str) -> TooLarge:
    return TooLarge(
        "The workbook is too large",
        detail=f"{place.name}: {why}",
        remedy="Delete stray cells far from the table and sheets that are not needed, or save the sheet as CSV.",
    )


class _Extent:
    """The rectangle that the cells of a sheet span, from its XML seen piece by piece."""

    def __init__(self) -> None:
        self.rows = 0
        self.columns = 0
        self.rest = b""

    @property
    def cells(self) -> int:
        return self.rows * self.columns

    def see(self, piece: bytes) -> None:
        piece = self.rest + piece
        cut = piece.rfind(b"<")
        self.rest = piece[cut:] if 0 <= len(piece) - cut < 1000 else b""
        if any(mark in piece for mark in UNUSUAL):
            piece = ANY_REFERENCE.sub(rb' r="\1\2"', piece)
        rows, letters = set(ROW_DIGITS.findall(piece)), set(COLUMN_LETTERS.findall(piece))
        self.rows = max([self.rows, *map(int, rows)])
        self.columns = max([self.columns, *(column_number(each.decode().upper()) + 1 for each in letters)])
        # Cells need not say where they are; then they stand one beside the other.
        longest = max(piece.split(b"<row"), key=len)
        if len(longest) > 2 * self.columns:
            self.columns = max(self.columns, len(CELL_WITHOUT_REFERENCE.findall(longest)))


def too_many_cells(place: Place, rows: int, columns: int) -> TooLarge:
    return TooLarge(
        "The workbook is too large",
        detail=f"{place.name} has a sheet of {rows} rows and {columns} columns, at most "
        f"{MAX_CELLS} cells are read",
        remedy="Delete stray cells far from the table, or save the sheet as CSV, which has no such limit.",
    )


def column_number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1
