"""A sheet of an Office Open XML workbook as chunks of text, read fast: the form that spreadsheet programs write.

Here belong the parts of the archive and how the sheet streams through `data/sheet_cells.py` (where the cells are)
and `data/sheet_values.py` (what they hold). Whatever is not in the usual form raises `Unusual` before a row was
given, and `data/workbook.py` reads the workbook with the general reader: nothing is guessed here.
"""

from __future__ import annotations

import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, pairwise
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.data.cell_texts import text_of, texts_of, type_for
from tidemill.data.packed import counted, open_member
from tidemill.data.sheet_cells import Block, Numbers, Unusual, cells_of
from tidemill.data.sheet_values import Oracle, column_values, shared_texts
from tidemill.data.source import Fault, Place, Row
from tidemill.data.staging import Chunk, InPieces

# The XML at hand at once: the arrays made of it should stay in the processor's cache.
BLOCK = 1 << 21
AT_ONCE = 2
# Each chunk costs the judges of its rows some statements, however few rows it has.
CHUNK_ROWS = 100_000
CHUNK_CELLS = 2_000_000
# A row that is longer than this is no row of a table.
LONGEST_ROW = 1 << 26
WORKSHEET = "/worksheet"
# A header that stands further down is read with its rows.
MOST_HEAD = 100


@dataclass
class Piece:
    """Some rows: their numbers, the cells by column, and by line the columns of errors."""

    lines: Numbers
    columns: dict[int, pa.Array]
    errors: dict[int, list[int]]


@dataclass
class Sheet:
    """A sheet read to its end. Rows and columns count from 1; `columns` are the first and the last that hold
    anything."""

    name: str
    pieces: list[Piece] = field(default_factory=list)
    columns: tuple[int, int] = (0, 0)
    merged: int = 0

    def split(self, first: int) -> tuple[Row | None, InPieces]:
        """The first row from row `first` on that holds anything, None if there is none; and those below it."""
        pieces = self._chunks()
        for piece in pieces:
            good = piece.values.filter(pc.greater_equal(piece.values["line"], first))
            faults = [row for row in piece.faults if row.line >= first]
            header = next(Chunk(good.slice(0, 1), faults).in_order(), None)
            if header is not None:
                rest = Chunk(good.slice(header.fault is None), [row for row in faults if row is not header])
                return header, InPieces(chain([rest] if rest.rows else [], pieces))
        return None, InPieces(pieces)

    def _chunks(self) -> Iterator[Chunk]:
        """The rows that hold anything, several pieces at a time, each let go of once it was taken."""
        self.pieces.reverse()
        most = min(CHUNK_ROWS, CHUNK_CELLS // (self.columns[1] - self.columns[0] + 1) + 1)
        at_once = 1
        while self.pieces:
            taken: list[Chunk] = []
            while self.pieces and sum(chunk.rows for chunk in taken) < at_once:
                taken.append(self._chunk(self.pieces.pop()))
            faults = [row for chunk in taken for row in chunk.faults]
            yield Chunk(_together([chunk.values for chunk in taken]), faults)
            # The first piece is the header, whose names make texts of any column.
            at_once = most

    def _chunk(self, piece: Piece) -> Chunk:
        first, last = self.columns
        empty = pa.nulls(len(piece.lines))
        cells = [piece.columns.get(column, empty) for column in range(first, last + 1)]
        named = {f"c{index}": column for index, column in enumerate(cells)}
        table = pa.table({"line": pa.array(piece.lines, pa.int64())} | named)
        keep = np.ones(len(piece.lines), bool)
        faults = []
        for line, (column, *_) in sorted(piece.errors.items()):
            at = int(np.searchsorted(piece.lines, line))
            keep[at] = False
            where = f"{letters_of(column)}{line}"
            texts = [text_of(cell[at].as_py()) for cell in cells]
            faults.append(Row(line, [], Fault("", where, "a cell of the row holds an error", texts)))
        return Chunk(table.filter(pa.array(keep)) if faults else table, faults)


def _together(tables: list[pa.Table]) -> pa.Table:
    """Rows one behind the other; columns whose cells are not of one type become texts."""
    names = tables[0].column_names
    columns = [_as_one([table.column(name) for table in tables]) for name in names]
    return pa.table(columns, names=names)


def _as_one(parts: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    kind = type_for(part.type for part in parts)
    return pa.chunked_array([_as_type(chunk, kind) for part in parts for chunk in part.chunks], kind)


def _as_type(values: pa.Array, kind: pa.DataType) -> pa.Array:
    return texts_of(values) if kind == pa.string() else values.cast(kind)


def letters_of(column: int) -> str:
    """A column's number, from 1, as spreadsheets show it."""
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


class Archive:
    """The parts of a workbook, each byte counted as it is inflated."""

    def __init__(self, place: Place, archive: zipfile.ZipFile, most: int) -> None:
        self.place = place
        self.archive = archive
        self.most = most
        self.size = 0
        self.members = {member.filename: member for member in archive.infolist()}
        self.unread = dict(self.members)
        if len(self.members) != len(archive.infolist()):
            raise Unusual

    def stream(self, name: str) -> Iterator[bytes]:
        member = self.unread.pop(name, None)
        if member is None:
            raise Unusual
        with open_member(self.archive, member) as handle:
            for piece in counted(self.place, handle, self.size, self.most):
                self.size += len(piece)
                yield piece

    def read(self, name: str) -> bytes:
        return b"".join(self.stream(name))

    def tree(self, name: str) -> ElementTree.Element:
        text = self.read(name)
        if b"<!" in text:
            raise Unusual
        return ElementTree.fromstring(text)

    def rest(self) -> None:
        """Count what else the archive holds, so that no bomb in it passes."""
        for name in list(self.unread):
            for _ in self.stream(name):
                pass


class SheetReader:
    """Reads one sheet of a workbook; `most_cells` bounds the rectangle from A1 to its last cell."""

    def __init__(self, archive: Archive, most_cells: int) -> None:
        self.archive = archive
        self.most_cells = most_cells
        self.book = archive.tree("xl/workbook.xml")
        links = archive.tree("xl/_rels/workbook.xml.rels")
        self.targets = {link.get("Id"): (link.get("Type", ""), link.get("Target", "")) for link in links}
        self.sheets: dict[str, str] = {}
        for element in self.book.iter():
            if element.tag.endswith("}sheet"):
                link = next((value for key, value in element.attrib.items() if key.endswith("}id")), None)
                kind, target = self.targets.get(link, ("", ""))
                if not kind.endswith(WORKSHEET) or element.get("name") in (None, *self.sheets):
                    raise Unusual
                self.sheets[element.attrib["name"]] = _member(target)

    def read(self, wanted: str | None, head: int) -> Sheet:
        """The sheet of that name, or the first that holds anything below row 1. `head` rows are read apart."""
        if not self.sheets or (wanted is not None and wanted not in self.sheets):
            raise Unusual
        oracle = Oracle(self._part("styles"), self._from_1904())
        shared = shared_texts(self._part("sharedStrings"), oracle)
        for name in self.sheets if wanted is None else [wanted]:
            sheet = self._sheet(name, head, shared, oracle)
            if sheet.pieces and (wanted is not None or sheet.pieces[-1].lines[-1] > 1):
                self.archive.rest()
                return sheet
        raise Unusual

    def _part(self, kind: str) -> bytes | None:
        found = [target for each, target in self.targets.values() if each.endswith(f"/{kind}")]
        if len(found) > 1 or (not found and f"xl/{kind}.xml" in self.archive.members):
            raise Unusual
        if found and found[0] not in (f"{kind}.xml", f"/xl/{kind}.xml"):
            raise Unusual
        text = self.archive.read(f"xl/{kind}.xml") if found else None
        if text is not None and not is_usual(text):
            raise Unusual
        return text

    def _from_1904(self) -> bool:
        flags = {
            element.get("date1904") for element in self.book.iter() if element.tag.endswith("}workbookPr")
        }
        if not flags <= {None, "0", "false", "1", "true"}:
            raise Unusual
        return bool(flags & {"1", "true"})

    def _sheet(self, name: str, head: int, shared: pa.StringArray, oracle: Oracle) -> Sheet:
        sheet = Sheet(name)
        last_row, first, last = 0, 1 << 20, 0
        for piece in _in_turn(
            lambda text: piece_of(cells_of(text), shared, oracle), self._blocks(sheet, head)
        ):
            if not len(piece.lines):
                continue
            if piece.lines[0] <= last_row:
                raise Unusual
            last_row = int(piece.lines[-1])
            places = [*piece.columns, *chain.from_iterable(piece.errors.values())]
            first, last = min(first, *places), max(last, *places)
            if last_row * last > self.most_cells:
                raise TooWide(last_row, last)
            sheet.pieces.append(piece)
        sheet.columns = first, last
        return sheet

    def _blocks(self, sheet: Sheet, head: int) -> Iterator[bytes]:
        """The XML of the sheet's rows, in blocks of whole ones: first so many, then as many as are at hand."""
        pieces = self.archive.stream(self.sheets[sheet.name])
        rest = b""
        for piece in pieces:
            rest += piece
            if (begin := rest.find(b"<sheetData>")) >= 0:
                break
            if len(rest) > LONGEST_ROW or b"<sheetData/>" in rest:
                raise Unusual
        else:
            raise Unusual
        if not is_usual(rest[:begin]):
            raise Unusual
        rest = rest[begin + len(b"<sheetData>") :]
        if (cut := _behind(rest, head)) > 0:
            yield rest[:cut]
            rest = rest[cut:]
        while True:
            # Rows before the last are not searched for the end: it is no tag that is read among them.
            cut = max(rest.rfind(b"<row "), 0)
            if (end := rest.find(b"</sheetData>", cut)) >= 0:
                break
            if len(rest) >= BLOCK and cut > 0:
                yield rest[:cut]
                rest = rest[cut:]
            if len(rest) > LONGEST_ROW:
                raise Unusual
            piece = next(pieces, b"")
            if not piece:
                raise Unusual
            rest += piece
        if end:
            yield rest[:end]
        rest = rest[end:]
        sheet.merged = rest.count(b"<mergeCell ")
        for piece in pieces:
            sheet.merged += (rest[-10:] + piece).count(b"<mergeCell ")
            rest = rest[-20:] + piece
        if not rest.rstrip().endswith(b"</worksheet>"):
            raise Unusual


def _behind(text: bytes, rows: int) -> int:
    """Where the row behind the first `rows` begins; -1 when it does not stand in the text."""
    end = text.find(b"</sheetData>")
    at = 0
    for _ in range(min(rows, MOST_HEAD)):
        if at >= 0:
            at = text.find(b"<row ", at + 1, end if end >= 0 else len(text))
    return at


def _in_turn(work: Callable[[bytes], Piece], texts: Iterator[bytes]) -> Iterator[Piece]:
    """The work on each text, in order; two at a time, since arrays are worked on outside of Python's lock."""
    waiting: deque[Future[Piece]] = deque()
    with ThreadPoolExecutor(AT_ONCE) as workers:
        try:
            for text in texts:
                waiting.append(workers.submit(work, text))
                if len(waiting) > AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


class TooWide(Exception):
    """The rectangle of a sheet is larger than allowed."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows = rows
        self.columns = columns


def _member(target: str) -> str:
    return target.lstrip("/") if target.startswith("/") else f"xl/{target}"


def is_usual(text: bytes) -> bool:
    """Whether the head of a part says nothing of another encoding, entities of its own, or prefixes of names."""
    head = text[:2000]
    declared = b"encoding=" not in head or b'encoding="utf-8"' in head.lower()
    return declared and b"<!" not in head and b"\0" not in head


def piece_of(block: Block, shared: pa.StringArray, oracle: Oracle) -> Piece:
    """The rows of a block, with an array for each column that holds anything."""
    new = np.diff(block.row, prepend=0) > 0
    lines = block.row[new]
    position = np.cumsum(new) - 1
    order = np.argsort(block.column.astype(np.int16), kind="stable")
    ordered = block.column[order]
    bounds = np.flatnonzero(np.diff(ordered, prepend=0, append=1 << 20))
    columns: dict[int, pa.Array] = {}
    errors: dict[int, list[int]] = {}
    error_kinds = [number for number, (_, form) in enumerate(block.kinds) if form == "e"]
    for begin, end in pairwise(bounds):
        which = order[begin:end]
        column = int(ordered[begin])
        parts = column_values(block, which, shared, oracle)
        if parts:
            columns[column] = _assembled(parts, position, len(lines))
        if error_kinds:
            for each in which[np.isin(block.kind[which], error_kinds)]:
                errors.setdefault(int(block.row[each]), []).append(column)
    return Piece(*_kept(lines, columns, errors))


def _kept(
    lines: Numbers, columns: dict[int, pa.Array], errors: dict[int, list[int]]
) -> tuple[Numbers, dict[int, pa.Array], dict[int, list[int]]]:
    """Without the rows in which nothing stands. To the reader empty texts are cells, so their columns count."""
    keep = np.isin(lines, list(errors))
    for cells in columns.values():
        if keep.all():
            return lines, columns, errors
        keep |= cells.is_valid().to_numpy(zero_copy_only=False)
    if keep.all():
        return lines, columns, errors
    return lines[keep], {column: cells.filter(pa.array(keep)) for column, cells in columns.items()}, errors


def _assembled(parts: list[tuple[Numbers, pa.Array]], position: npt.NDArray[np.int64], rows: int) -> pa.Array:
    """The parts of a column as one array, with nulls where no cell stands."""
    places = [position[which] for which, _ in parts]
    if len(parts) == 1 and len(places[0]) == rows:
        return parts[0][1]
    index = np.full(rows, -1, np.int64)
    index[np.concatenate(places)] = np.arange(sum(map(len, places)))
    kind = type_for(values.type for _, values in parts)
    whole = [values if values.type == kind else _as_type(values, kind) for _, values in parts]
    return pa.concat_arrays(whole).take(pa.array(index, mask=index < 0))
