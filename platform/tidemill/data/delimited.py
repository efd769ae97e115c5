"""Reading CSV: encoding, delimiter and quoting are found, then the file streams record by record.

Here belongs how text becomes records with exact line numbers, and what happens when quoting is broken: a quote
that is never closed must cost its own line and no other. Names of columns and meaning of cells are checked
elsewhere. This is the reader that misses nothing; the bulk of a large file is read by `data/bulk.py`, which gives
every line that is not plainly right to this one.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from tidemill.data.source import BLANK_ROW, Fault, Place, Row, SourceFile, empty_file
from tidemill.data.stretches import MAX_LINE, Stretch, Stretches, too_long
from tidemill.errors import Corrupt, InvalidInput
from tidemill.project import Reading

PIECE = 1 << 20
HEAD = 1 << 16
DELIMITERS = ",;\t|"
SNIFFED_RECORDS = 400
# A quoted cell may run over so many lines; a quote still open then is a stray one.
MAX_RECORD_LINES = 500

MAGIC = {
    b"PK\x03\x04": "a zip archive or an Office file",
    b"\xd0\xcf\x11\xe0": "an old Office file",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip archive",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"SQLite format 3": "an SQLite database",
}
ASCII_BASED = frozenset({"utf-8", "utf-8-sig", "cp1252", "latin-1"})
CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\x1a\x00"))
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+\s*")
DECIMAL_POINT = re.compile(r"\s*[+-]?\d*\.\d+\s*")
DIGIT = re.compile(r"\d")
GROUPED_COMMA = re.compile(r"\s*[+-]?\d{1,3}(\.\d{3})+,\d+\s*")
GROUPED_POINT = re.compile(r"\s*[+-]?\d{1,3}(,\d{3})+\.\d+\s*")
GROUPS_OF_THREE = re.compile(r"\s*[+-]?\d{1,3}\.\d{3}\s*")


@dataclass(frozen=True)
class Dialect:
    """How one file is written. `quoted` says whether `"` encloses cells or is a character like others.

    `skipped` lines stand above the header and are no rows.
    """

    encoding: str
    delimiter: str = ","
    quoted: bool = True
    skipped: int = 0


def open_delimited(place: Place, reading: Reading) -> SourceFile:
    """Open a CSV file; what `reading` does not say is found. Raises InvalidInput when it is binary, empty or in no
    known encoding."""
    dialect, has_quotes = _detect_encoding(place, reading.encoding)
    dialect = replace(dialect, skipped=reading.header_row - 1)
    dialect = replace(dialect, delimiter=reading.delimiter or _detect_delimiter(place, dialect))
    if has_quotes and not _quotes_enclose(place, dialect):
        dialect = replace(dialect, quoted=False)
    lines = _Lines(_open_text(place, dialect), place.name, dialect.skipped)
    rows = _records(lines, dialect)
    header = next(rows, None)
    if header is None:
        raise empty_file(place.name)
    if header.fault is not None:
        raise InvalidInput(
            "The header cannot be read",
            detail=f"{place.name}, line {header.line}: {header.fault.reason}",
            remedy="Mend the first line of the file; it names the columns.",
        )
    return SourceFile(
        place.name,
        [(cell or "").strip() for cell in header.cells],
        "csv",
        rows,
        encoding=dialect.encoding,
        delimiter=dialect.delimiter,
        decimal=reading.decimal or _detect_decimal(place, dialect),
        header_row=header.line,
        head=header.cells,
        delimited=Delimited(place, dialect, len(header.cells), lines.read),
    )


@dataclass(frozen=True)
class Delimited:
    """The rows of a CSV in stretches of lines: `width` cells each, behind `above` lines with the header.

    Every row is in one stretch, or read carefully from one on to the end of a later one.
    """

    place: Place
    dialect: Dialect
    width: int
    above: int

    def stretches(self) -> Stretches:
        return Stretches(self.place, self.dialect.encoding, self.above)

    def carefully(self, stretch: Stretch, following: Iterator[Stretch]) -> Iterator[Row]:
        """The rows of a stretch; when its last record does not end in it, those of the `following` one as well."""
        waiting = deque(_lines_of(stretch))

        def readline() -> str:
            if not waiting and lines.record and (more := next(following, None)) is not None:
                waiting.extend(_lines_of(more))
            return waiting.popleft() if waiting else ""

        lines = _Lines(readline, self.place.name, stretch.first_line - 1)
        return _records(lines, self.dialect, self.width)

    def record(self, stretch: Stretch, number: int) -> tuple[Row | None, int]:
        """The record that begins in line `number` of a uniform stretch, and the number of the line behind it."""
        end = stretch.first_line + stretch.lines
        rest = (stretch.line(each).decode() for each in range(number, end))
        lines = _Lines(lambda: next(rest, ""), self.place.name, number - 1)
        row = next(_records(lines, self.dialect, self.width), None)
        return row, lines.read + 1 - len(lines.waiting)

    def line(self, number: int, text: bytes) -> Iterator[Row]:
        """The row that stands in one line; nothing where the line is blank."""
        once = iter([text.decode(), ""])
        return _records(_Lines(lambda: next(once, ""), self.place.name, number - 1), self.dialect, self.width)


def _lines_of(stretch: Stretch) -> io.StringIO:
    return io.StringIO(stretch.text, newline="")


def _detect_encoding(place: Place, wanted: str | None) -> tuple[Dialect, bool]:
    """The encoding that decodes the whole file, and whether it holds any quote."""
    with place.path.open("rb") as handle:
        head = handle.read(HEAD)
    candidates = _candidates(place, head)
    if wanted is not None:
        # A mark at the start of the file is no part of its first column's name.
        candidates = ["utf-8-sig"] if wanted == "utf-8" and candidates == ["utf-8-sig"] else [wanted]
    for encoding in candidates:
        decoded, has_quotes = _decodes(place, encoding)
        if decoded:
            return Dialect(encoding), has_quotes
    raise InvalidInput(
        "The file's encoding is unknown",
        detail=f"{place.name} is not valid {' or '.join(candidates)}",
        remedy="Save it as UTF-8 (in Excel: CSV UTF-8) and send it again, or name its encoding with "
        "reading.encoding in project.yaml.",
    )


def _candidates(place: Place, head: bytes) -> list[str]:
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            raise _not_text(place, f"it is {kind}")
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return ["utf-32"]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ["utf-16"]
    if head.startswith(codecs.BOM_UTF8):
        return ["utf-8-sig"]
    pairs = max(len(head) // 2, 1)
    for encoding, high in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
        if high.count(0) > 0.4 * pairs and head.count(0) < 1.1 * high.count(0):
            return [encoding]
    odd = len(head) - len(head.translate(None, CONTROL)) + head.count(0)
    if odd > 0.02 * len(head) + 3:
        raise _not_text(place, "it holds bytes that no text holds")
    return ["utf-8", "cp1252"]


def _not_text(place: Place, why: str) -> InvalidInput:
    return InvalidInput(
        "The file is not text",
        detail=f"{place.name} is named like a CSV, but {why}",
        remedy="Send a real CSV, or give the file its true suffix if it is a workbook.",
    )


def _decodes(place: Place, encoding: str) -> tuple[bool, bool]:
    decoder = codecs.getincrementaldecoder(encoding)()
    has_quotes = False
    try:
        with place.path.open("rb") as handle:
            while piece := handle.read(PIECE):
                has_quotes = has_quotes or b'"' in piece
                # What is ASCII reads the same in each of these, unless the piece before ended amid a character.
                if not (encoding in ASCII_BASED and piece.isascii() and decoder.getstate()[0] == b""):
                    decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False, has_quotes
    return True, has_quotes


def _open_text(place: Place, dialect: Dialect) -> Callable[[], str]:
    """A reader of the lines of the file from its header on, "" at the end."""
    # newline="" keeps line ends as they are, so that a quoted cell gets back exactly what was written.
    handle = place.path.open("r", encoding=dialect.encoding, newline="")
    weakref.finalize(readline := partial(handle.readline, MAX_LINE), handle.close)
    for _ in range(dialect.skipped):
        readline()
    return readline


def _sample(place: Place, dialect: Dialect) -> str:
    """The first megabyte of the text from its header on, in whole lines where it has any."""
    with place.path.open("r", encoding=dialect.encoding, newline="") as handle:
        for _ in range(dialect.skipped):
            handle.readline(MAX_LINE)
        text = handle.read(PIECE)
        if handle.read(1):
            return text[: text.rfind("\n") + 1] or text
    return text


def _sampled(place: Place, dialect: Dialect) -> Iterator[Row]:
    """The records of the sample, the header's among them."""
    readline = io.StringIO(_sample(place, dialect), newline="").readline
    return _records(_Lines(readline, place.name, dialect.skipped), dialect)


def _detect_delimiter(place: Place, dialect: Dialect) -> str:
    """The delimiter whose records agree best with the width of the header; the wider one when equal."""
    sample = _sample(place, dialect)
    best = max(DELIMITERS, key=lambda delimiter: _fit(sample, delimiter))
    return best if _fit(sample, best)[0] else ","


def _fit(sample: str, delimiter: str) -> tuple[bool, float, int]:
    records = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
    try:
        widths = [len(record) for record in islice(records, SNIFFED_RECORDS) if record]
    except csv.Error:
        return False, 0.0, 0
    width = widths[0] if widths else 0
    agree = sum(each == width for each in widths) / max(len(widths), 1)
    return width > 1, round(agree, 1), width


def _quotes_enclose(place: Place, dialect: Dialect) -> bool:
    """Whether reading `"` as enclosing cells explains the file's first megabyte better than as a character."""
    enclosing = _count_misfits(place, dialect)
    if not enclosing:
        return True
    literal = replace(dialect, quoted=False)
    wrapped, stray = _count_quotes(place, literal)
    return not (_count_misfits(place, literal) < enclosing and wrapped <= stray)


def _count_misfits(place: Place, dialect: Dialect) -> int:
    """Rows that cannot be read, have another width than the header, or swallowed lines that look whole."""
    rows = _sampled(place, dialect)
    header = next(rows, None)
    width = len(header.cells) if header else 0
    return sum(
        row.fault is not None
        or len(row.cells) != width
        or _swallowed(list(filter(None, row.cells)), dialect.delimiter, width)
        for row in rows
    )


def _swallowed(cells: list[str], delimiter: str, width: int) -> bool:
    """Whether a cell holds what looks like the end of one record and the start of the next."""
    # Few records have a cell over lines: all cells at once are asked for one first.
    return "\n" in "".join(cells) and any(
        "\n" in cell and cell.count(delimiter) == width - 1 > 0 for cell in cells
    )


def _count_quotes(place: Place, literal: Dialect) -> tuple[int, int]:
    """How many cells are wrapped in quotes, and how many hold a quote otherwise."""
    wrapped = stray = 0
    for row in _sampled(place, literal):
        for cell in row.cells:
            if cell is not None and '"' in cell:
                whole = len(cell) > 1 and cell.startswith('"') and cell.endswith('"')
                wrapped, stray = wrapped + whole, stray + (not whole)
    return wrapped, stray


def _detect_decimal(place: Place, dialect: Dialect) -> str:
    """`,` when the first records hold numbers with a decimal comma and none with a point.

    `1.234,5` proves a comma even where commas delimit; `1.234` is no proof against it then.
    """
    commas = points = groups = proofs = 0
    for row in islice(_sampled(place, dialect), 1, 1 + SNIFFED_RECORDS):
        for cell in row.cells:
            if cell is None or not DIGIT.search(cell):
                continue
            proofs += GROUPED_COMMA.fullmatch(cell) is not None
            commas += DECIMAL_COMMA.fullmatch(cell) is not None
            points += DECIMAL_POINT.fullmatch(cell) is not None or GROUPED_POINT.fullmatch(cell) is not None
            groups += GROUPS_OF_THREE.fullmatch(cell) is not None
    if proofs:
        return "," if points <= groups else "."
    return "," if commas and not points and dialect.delimiter != "," else "."


class _Lines:
    """The lines that `readline` gives, those of the record at hand kept; lines can be given back.

    `read` counts them, on top of the `skipped` ones before the first.
    """

    def __init__(self, readline: Callable[[], str], name: str, skipped: int = 0) -> None:
        self.readline = readline
        self.name = name
        self.waiting: deque[str] = deque()
        self.record: list[str] = []
        self.left = MAX_RECORD_LINES
        self.read = skipped

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if not self.left:
            raise StopIteration
        line = self.waiting.popleft() if self.waiting else self._read()
        self.left -= 1
        self.record.append(line)
        return line

    def _read(self) -> str:
        line = self.readline()
        if not line:
            raise StopIteration
        if len(line) >= MAX_LINE:
            raise too_long(self.name, self.read + 1)
        self.read += 1
        return line

    def begin(self) -> None:
        self.record.clear()
        self.left = MAX_RECORD_LINES

    def give_back(self) -> str:
        """Keep the first line of the record at hand and give the others back, to be read again."""
        first, *others = self.record
        self.waiting.extendleft(reversed(others))
        del self.record[1:]
        return first


def _records(lines: _Lines, dialect: Dialect, width: int = 0) -> Iterator[Row]:
    """Every record of the lines, header included. Lines without a character are no rows.

    `width` is how many cells each must have; 0 when the first, the header, tells.
    """
    reader = csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
        strict=True,
    )
    number = lines.read + 1
    while True:
        lines.begin()
        try:
            cells: list[str] | None = next(reader)
            why = ""
        except StopIteration:
            break
        except csv.Error as error:
            cells, why = None, _explain(error, len(lines.record))
        if cells and width and len(cells) != width and len(lines.record) > 1:
            cells, why = None, "a quote is opened in this line and not closed in it"
        if cells is None:
            # Only the first line is at fault: what a stray quote has swallowed is read again.
            yield Row(number, [], Fault("", lines.give_back().rstrip("\r\n"), why))
        elif cells:
            row = _row(number, cells, width)
            width = width or len(cells)
            yield row
        number += len(lines.record)
    if number - 1 != lines.read:
        raise Corrupt(
            "Lines of the file were lost while it was read",
            detail=f"{lines.name}: {lines.read} lines read, {number - 1} accounted for",
            remedy="Please report this, with the file if you may share it.",
        )


def _row(number: int, cells: list[str], width: int) -> Row:
    if width and len(cells) != width:
        found = f"the row has {len(cells)} cells, the header {width}"
        return Row(number, [], Fault("", ", ".join(cells), found, cells))
    text = "".join(cells)
    if "\0" in text:
        shown = ", ".join(cells).replace("\0", "\\0")
        return Row(number, [], Fault("", shown, "the row holds a NUL byte", cells))
    if not text:
        return Row(number, [], BLANK_ROW)
    return Row(number, [cell or None for cell in cells])


def _explain(error: csv.Error, lines: int) -> str:
    text = str(error)
    if "field larger" in text:
        return f"a cell holds more than {csv.field_size_limit()} characters"
    if "unexpected end" in text or lines > 1:
        return "a quote is opened in this line and not closed as it should be"
    if "expected after" in text:
        return "a quoted cell goes on after its closing quote"
    return text
