"""The files that the ingest benchmark reads: 15 mixed columns, the same for the same number of rows, streamed.

One row in a thousand is broken in one of nine ways. What was planted where is known by a rule, not by a record:
`planted` gives the lines.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import duckdb

VERSION = 3
BLOCK = 1_000
AT_ONCE = 500_000
TYPES = {
    "id": "string",
    "customer": "integer",
    "quantity": "integer",
    "visits": "integer",
    "price": "float",
    "discount": "float",
    "balance": "float",
    "plan": "category",
    "region": "category",
    "channel": "category",
    "member": "boolean",
    "active": "boolean",
    "born": "date",
    "seen": "datetime",
    "note": "text",
}
CONTRACT = """
name: bench
task: binary
columns:
  id: {type: string, role: id}
  customer: {type: integer, nulls: false, min: 0}
  quantity: {type: integer, nulls: false, min: 0, max: 100}
  visits: {type: integer, min: 0}
  price: {type: float, nulls: false, min: 0, max: 1000}
  discount: {type: float, min: 0, max: 1}
  balance: {type: float, nulls: false}
  plan: {type: category, nulls: false, values: [basic, plus, premium]}
  region: {type: category, values: [north, south, east, west]}
  channel: {type: category, nulls: false, values: [web, shop, phone, post, partner]}
  member: {type: boolean, nulls: false}
  active: {type: boolean, role: target}
  born: {type: date, nulls: false}
  seen: {type: datetime, nulls: false}
  note: {type: text}
rejects: {max_share: 0.05}
"""
SQL = {"string": "VARCHAR", "category": "VARCHAR", "text": "VARCHAR", "integer": "BIGINT", "float": "DOUBLE"}
SQL |= {"boolean": "BOOLEAN", "date": "DATE", "datetime": "TIMESTAMP"}

# One value a column, from the row's number i. The numbers behind hash() are the seed.
VALUES = """
  'c' || lpad(i::VARCHAR, 10, '0') AS id,
  (hash(i, 1) % 5000000)::BIGINT AS customer,
  (hash(i, 2) % 101)::BIGINT AS quantity,
  CASE WHEN hash(i, 3) % 20 > 0 THEN (hash(i, 4) % 400)::BIGINT END AS visits,
  (hash(i, 5) % 100000 / 100)::DECIMAL(9, 2) AS price,
  CASE WHEN hash(i, 6) % 50 > 0 THEN (hash(i, 7) % 1000 / 1000)::DECIMAL(6, 3) END AS discount,
  (hash(i, 8) % 1000000000 / 1000.0 - 500000.0)::DOUBLE / 7.0 AS balance,
  (['basic', 'plus', 'premium'])[(hash(i, 9) % 3 + 1)::INT] AS plan,
  (['north', 'south', 'east', 'west', NULL])[(hash(i, 10) % 5 + 1)::INT] AS region,
  (['web', 'shop', 'phone', 'post', 'partner'])[(hash(i, 11) % 5 + 1)::INT] AS channel,
  hash(i, 12) % 3 = 0 AS member,
  hash(i, 13) % 2 = 0 AS active,
  DATE '1940-01-01' + (hash(i, 14) % 25000)::INT AS born,
  TIMESTAMP '2020-01-01' + to_seconds((hash(i, 15) % 150000000)::BIGINT) AS seen,
  (['asked for a refund', 'said "yes", then left', 'moved, twice, in May', 'new address: 5, High Street',
    'no answer', 'called again', 'wants the "gold" card', NULL])[(hash(i, 16) % 8 + 1)::INT]
    || ' ' || (hash(i, 17) % 100000)::VARCHAR AS note
"""
CELLS = {name: f"coalesce({name}::VARCHAR, '')" for name in TYPES}
CELLS["note"] = "CASE WHEN note IS NULL THEN '' ELSE '\"' || replace(note, '\"', '\"\"') || '\"' END"
# What becomes of a broken row: the cells that are put in the place of its own, or of its whole line.
KINDS: tuple[dict[str, str], ...] = (
    {"quantity": "'many'"},
    {"price": "'1234567.5'"},
    {"plan": "'gold'"},
    {"member": "'perhaps'"},
    {"born": "'1999-02-30'"},
    {"customer": "''"},
    {"id": "'c' || lpad((i - 1)::VARCHAR, 10, '0')"},
    {"": "'a,line,that,ends,early'"},
    {"": "'c' || lpad(i::VARCHAR, 10, '0') || ',7,8,9,1.0,0.5,2.0,plus,\"stray'"},
)
PLANTED = f"(i % {BLOCK} = 500 + hash(i // {BLOCK}, 99) % 400)"


def csv_file(folder: Path, rows: int, *, clean: bool = False) -> Path:
    """A CSV of so many rows; `clean` leaves the broken ones out. Kept in `folder` for the next run."""
    path = folder / f"rows-{VERSION}-{rows}{'-clean' if clean else ''}.csv"
    if path.exists():
        return path
    aside = path.with_suffix(".part")
    with aside.open("wb") as handle:
        handle.write((",".join(TYPES) + "\n").encode())
        for text in _lines(rows, clean):
            handle.write(text)
    aside.rename(path)
    return path


def _lines(rows: int, clean: bool) -> Iterator[memoryview]:
    line = " || ',' || ".join(CELLS.values())
    broken = "".join(f" WHEN bad AND kind = {kind} THEN {_broken(kind)}" for kind in range(len(KINDS)))
    query = (
        f"SELECT (CASE{broken} ELSE {line} END) || chr(10) AS line FROM "
        f"(SELECT i, {PLANTED} AS bad, (i // {BLOCK}) % {len(KINDS)} AS kind, {VALUES} FROM range($1, $2) t(i)) "
        f"{'WHERE NOT bad' if clean else ''} ORDER BY i"
    )
    with duckdb.connect() as connection:
        for start in range(0, rows, AT_ONCE):
            piece = connection.sql(query, params=[start, min(start + AT_ONCE, rows)])
            for batch in piece.to_arrow_reader(100_000):
                yield _bytes_of(batch.column(0))


def _bytes_of(column: object) -> memoryview:
    """The texts of an Arrow column, one behind the other: its buffer as it is."""
    import pyarrow as pa

    assert isinstance(column, pa.Array)
    column = column.cast(pa.large_string())
    offsets = memoryview(column.buffers()[1]).cast("q")
    return memoryview(column.buffers()[2])[offsets[column.offset] : offsets[column.offset + len(column)]]


def _broken(kind: int) -> str:
    change = KINDS[kind]
    return change.get("") or " || ',' || ".join((CELLS | change).values())


def planted(rows: int) -> set[int]:
    """The lines of the broken rows of `csv_file(..., rows)`: the header is line 1."""
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT i + 2 FROM range({rows}) t(i) WHERE {PLANTED}").fetchall()
    return {line for (line,) in found}


def workbook_file(folder: Path, rows: int) -> Path:
    """The good rows of the CSV as a workbook, in the form that spreadsheet programs write: texts are shared, dates
    are numbers with a style. The quantity of a planted row is out of range. Kept in `folder`."""
    path = folder / f"rows-{VERSION}-{rows}.xlsx"
    if path.exists():
        return path
    aside = path.with_suffix(".part")
    with duckdb.connect() as connection, zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
        connection.execute(
            f"CREATE TABLE data AS SELECT i + 2 AS line, * REPLACE (CASE WHEN bad THEN 1000 ELSE quantity END AS "
            f"quantity) FROM (SELECT i, {PLANTED} AS bad, {VALUES} FROM range({rows}) t(i))"
        )
        texts = [name for name, kind in TYPES.items() if SQL[kind] == "VARCHAR"]
        every = " UNION ALL ".join(f"SELECT {name} AS text FROM data" for name in texts)
        named = " UNION ALL ".join(f"SELECT '{name}' AS text" for name in TYPES)
        connection.execute(
            f"CREATE TABLE shared AS SELECT text, row_number() OVER (ORDER BY text) - 1 AS number "
            f"FROM (SELECT DISTINCT text FROM ({every} UNION ALL {named}) WHERE text IS NOT NULL)"
        )
        for name, content in _PARTS.items():
            archive.writestr(name, content)
        with archive.open("xl/sharedStrings.xml", "w") as handle:
            handle.write(f'{_XML}<sst xmlns="{_MAIN}">'.encode())
            for (text,) in connection.execute("SELECT text FROM shared ORDER BY number").fetchall():
                escaped = text.replace("&", "&amp;").replace("<", "&lt;")
                handle.write(f"<si><t>{escaped}</t></si>".encode())
            handle.write(b"</sst>")
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as handle:
            extent = f"A1:{_letter(len(TYPES) - 1)}{rows + 1}"
            handle.write(
                f'{_XML}<worksheet xmlns="{_MAIN}"><dimension ref="{extent}"/><sheetData><row r="1">'.encode()
            )
            numbers = dict(connection.execute("SELECT text, number FROM shared").fetchall())
            for index, name in enumerate(TYPES):
                handle.write(f'<c r="{_letter(index)}1" t="s"><v>{numbers[name]}</v></c>'.encode())
            handle.write(b"</row>")
            for (text,) in connection.execute(_sheet_rows(texts)).fetchall():
                handle.write(text.encode())
            handle.write(b"</sheetData></worksheet>")
    aside.rename(path)
    return path


def _sheet_rows(texts: list[str]) -> str:
    cells = " || ".join(_sheet_cell(index, name, kind) for index, (name, kind) in enumerate(TYPES.items()))
    joins = " ".join(f"LEFT JOIN shared AS s_{name} ON data.{name} = s_{name}.text" for name in texts)
    row = f"'<row r=\"' || line || '\" spans=\"1:{len(TYPES)}\">' || {cells} || '</row>'"
    return f"SELECT {row} FROM data {joins} ORDER BY line"


def _sheet_cell(index: int, name: str, kind: str) -> str:
    where = f"'<c r=\"{_letter(index)}' || line || '\""
    match kind:
        case "boolean":
            cell = f"{where} t=\"b\"><v>' || {name}::INT || '</v></c>'"
        case "date":
            cell = f"{where} s=\"1\"><v>' || ({name} - DATE '1899-12-30') || '</v></c>'"
        case "datetime":
            days = f"(epoch({name}) - epoch(TIMESTAMP '1899-12-30')) / 86400.0"
            cell = f"{where} s=\"2\"><v>' || {days} || '</v></c>'"
        case "integer" | "float":
            cell = f"{where}><v>' || {name} || '</v></c>'"
        case _:
            cell = f"{where} t=\"s\"><v>' || s_{name}.number || '</v></c>'"
    return f"coalesce({cell}, '')"


def _letter(index: int) -> str:
    return chr(ord("A") + index)


_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_SHEETML = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS = {
    "[Content_Types].xml": f'{_XML}<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_SHEETML}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_SHEETML}.worksheet+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_SHEETML}.styles+xml"/>'
    f'<Override PartName="/xl/sharedStrings.xml" ContentType="{_SHEETML}.sharedStrings+xml"/></Types>',
    "_rels/.rels": f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
    '<sheet name="Data" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_OFFICE}/styles" Target="styles.xml"/>'
    f'<Relationship Id="rId3" Type="{_OFFICE}/sharedStrings" Target="sharedStrings.xml"/></Relationships>',
    "xl/styles.xml": f'{_XML}<styleSheet xmlns="{_MAIN}"><numFmts count="1">'
    '<numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/></numFmts>'
    "<fonts><font/></fonts><fills><fill/></fills><borders><border/></borders><cellStyleXfs><xf/></cellStyleXfs>"
    '<cellXfs><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/>'
    '<xf numFmtId="164" applyNumberFormat="1"/></cellXfs></styleSheet>',
}
