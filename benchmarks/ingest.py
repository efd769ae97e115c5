"""What taking in a file costs, against those who only read it.

Ours reads every row, keeps every reject with line, column and reason, and writes typed Parquet (`read`); or does
all that an ingestion is, from the copy aside and its hash to profile and manifest (`full`). The measure is a bare
copy by DuckDB, from CSV to Parquet, of the same rows without the broken ones: under its default settings it reads
no others. Workbooks are held against polars with fastexcel, which reads and checks nothing.

Processor seconds count from after the imports, on both sides. Peer and ours run in turn, each as its own process;
the rows that both give must be equal. One row in a thousand is broken: each must be found, and no other.

The peers live in an environment of their own under ~/.cache/tidemill-bench, which this script makes.

    ./tidemill bench ingest.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
from documents import write_document
from environments import python_with
from ingesting.data import SQL, TYPES, csv_file, planted, workbook_file

CACHE = Path.home() / ".cache" / "tidemill-bench"
SIDES = Path(__file__).parent / "ingesting"
PEERS = (
    f"duckdb=={duckdb.__version__}",
    "polars==2.1.0",
    "fastexcel==0.21.0",
    "pyarrow==25.0.1",
    "pandas==3.1.1",
    "pandera==0.35.0",
    "great_expectations==1.24.1",
)
BESIDE = (
    "duckdb_rejects",
    "polars_scan",
    "pyarrow_stream",
    "pandas_read",
    "pandera_checks",
    "great_expectations",
)
# Of these the answers are compared; one that keeps rejects does not know our rules.
COMPARED = ("duckdb_copy", "polars_scan", "pyarrow_stream", "pandas_read", "pandera_checks")
LARGE = 10_000_000
QUICK_SECONDS = 8.0

Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="200,000 rows, and no file of 10 million")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--only", choices=("csv", "excel", "large"), help="one part alone")
    options = parser.parse_args()
    python = python_with(CACHE / "ingest-peers", PEERS)
    parts = {
        "csv": lambda bench: bench.csv(200_000 if options.quick else 1_000_000, 3 if options.quick else 5),
        "excel": lambda bench: bench.excel(20_000 if options.quick else 100_000, 3 if options.quick else 5),
        "large": lambda bench: bench.large(),
    }
    if options.quick:
        del parts["large"]
    with tempfile.TemporaryDirectory(prefix="run-", dir=CACHE) as folder:
        bench = Bench(python, Path(folder), quick=options.quick)
        for name, part in parts.items():
            if options.only in (None, name):
                part(bench)
    report(bench, options.json)
    return 0


class Bench:
    """The runs so far, and the rows that were planted and not found, or found and not planted."""

    def __init__(self, python: Path | None, folder: Path, *, quick: bool) -> None:
        self.python = python
        self.folder = folder
        self.quick = quick
        self.rows: list[Row] = []
        self.unaccounted = 0

    def turns(self, rounds: int) -> Iterator[int]:
        """So many rounds; in a quick run none begins later than 8 s after the first."""
        began = time.monotonic()
        for turn in range(rounds):
            if turn == 0 or not self.quick or time.monotonic() < began + QUICK_SECONDS:
                yield turn

    def csv(self, rows: int, rounds: int) -> None:
        whole, clean = csv_file(CACHE, rows), csv_file(CACHE, rows, clean=True)
        lines = planted(rows)
        beside = [way for way in BESIDE if not (self.quick and way == "great_expectations")]
        for turn in self.turns(rounds):
            ours = self.ours("read", whole, rows, lines, keep=turn == 0)
            self.ours("full", whole, rows, lines)
            if self.python is None:
                continue
            for way in ("duckdb_copy", *(beside if turn == 0 or not self.quick else ())):
                self.peer(way, whole if way == "duckdb_rejects" else clean, rows, ours if turn == 0 else None)
        shutil.rmtree(self.folder / "kept", ignore_errors=True)

    def excel(self, rows: int, rounds: int) -> None:
        file = workbook_file(CACHE, rows)
        for turn in self.turns(rounds):
            ours = self.ours("read", file, rows, planted(rows), keep=turn == 0, what="excel")
            self.ours("cells", file, rows, None, what="excel_cells")
            if self.python is not None:
                self.peer("fastexcel_read", file, rows, ours if turn == 0 else None)
        shutil.rmtree(self.folder / "kept", ignore_errors=True)

    def large(self) -> None:
        whole = csv_file(CACHE, LARGE)
        self.ours("full", whole, LARGE, planted(LARGE), what="full_10m")
        if self.python is not None:
            self.peer("duckdb_copy", csv_file(CACHE, LARGE, clean=True), LARGE, None, what="duckdb_copy_10m")

    def ours(
        self,
        way: str,
        file: Path,
        rows: int,
        lines: set[int] | None,
        *,
        keep: bool = False,
        what: str | None = None,
    ) -> list[str]:
        """Run our side; the Parquet files that it wrote, kept when `keep`."""
        aside = self.folder / ("kept" if keep else "run")
        found = self._run(sys.executable, SIDES / "ours.py", way, file, aside, what or way)
        if found["rows"] != rows:
            self.unaccounted += abs(found["rows"] - rows)
        if lines is not None:
            with Path(found["rejects"]).open(newline="", encoding="utf-8") as handle:
                rejected = {int(row["line"]) for row in csv.DictReader(handle)}
            self.unaccounted += abs(found["rows"] - found["accepted"] - found["rejected"])
            self.unaccounted += len(rejected ^ lines)
        if not keep:
            shutil.rmtree(aside)
        return list(found.get("paths", ()))

    def peer(
        self, way: str, file: Path, rows: int, ours: list[str] | None, *, what: str | None = None
    ) -> None:
        """Run a peer, and compare what it wrote with what ours did."""
        aside = self.folder / "peer"
        self._run(str(self.python), SIDES / "peers.py", way, file, aside, what or way, rows=rows)
        if ours and way in (*COMPARED, "fastexcel_read"):
            only = ours if way == "fastexcel_read" else None
            if (a := digest(ours)) != (b := digest([str(aside / "out.parquet")], only)):
                differ = [name for name in a if a[name] != b[name]]
                raise SystemExit(f"{way} and ours do not read the same: {', '.join(differ)}")
        shutil.rmtree(aside)

    def _run(
        self, python: str, script: Path, way: str, file: Path, aside: Path, what: str, rows: int = 0
    ) -> Row:
        aside.mkdir(parents=True)
        process = subprocess.run(
            [python, str(script), way, str(file), str(aside)], stdout=subprocess.PIPE, text=True, check=False
        )
        if process.returncode:
            raise SystemExit(f"{script.name} {way} ended with {process.returncode}")
        found: Row = json.loads(process.stdout.splitlines()[-1])
        shown = {key: found[key] for key in ("cpu", "wall", "cpu_imports", "peak_mb")}
        self.rows.append({"side": what, "rows": found.get("rows", rows)} | shown)
        print(
            f"  {what:20} {found['cpu']:7.2f} s of CPU, {found['wall']:7.2f} s, {found['peak_mb']:6.0f} MB",
            file=sys.stderr,
        )
        return found

    def median(self, side: str, what: str = "cpu") -> float | None:
        found = [row[what] for row in self.rows if row["side"] == side]
        return statistics.median(found) if found else None


def digest(paths: list[str], only: list[str] | None = None) -> dict[str, Any]:
    """A sum over each column, whatever the order of the rows; `only` those rows whose id is in these files."""
    cells = ", ".join(f"sum(hash(CAST({name} AS {SQL[kind]}))::HUGEINT)" for name, kind in TYPES.items())
    where = f" WHERE id IN (SELECT id FROM read_parquet({only}))" if only else ""
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT count(*), {cells} FROM read_parquet({paths}){where}").fetchone()
    assert found is not None
    return dict(zip(("rows", *TYPES), found, strict=True))


def report(bench: Bench, file: Path | None) -> None:
    """Print medians and ratios; write them as JSON when asked."""
    results: dict[str, float] = {"unaccounted_rows": bench.unaccounted}
    print(f"\n{'':20} {'CPU-s':>8} {'s':>8} {'MB':>6}   medians")
    for side in dict.fromkeys(row["side"] for row in bench.rows):
        figures = [bench.median(side, what) for what in ("cpu", "wall", "peak_mb")]
        print(f"{side:20} {figures[0]:8.2f} {figures[1]:8.2f} {figures[2]:6.0f}")
    ratios = {
        "cpu_ratio_to_duckdb_read": ("read", "duckdb_copy", "cpu"),
        "cpu_ratio_to_duckdb_full": ("full", "duckdb_copy", "cpu"),
        "wall_ratio_to_duckdb_read": ("read", "duckdb_copy", "wall"),
        "wall_ratio_to_duckdb_full": ("full", "duckdb_copy", "wall"),
        "cpu_ratio_to_duckdb_full_10m": ("full_10m", "duckdb_copy_10m", "cpu"),
        "excel_ratio_to_fastexcel": ("excel", "fastexcel_read", "wall"),
        "excel_cpu_ratio_to_fastexcel": ("excel", "fastexcel_read", "cpu"),
        "excel_cells_ratio_to_fastexcel": ("excel_cells", "fastexcel_read", "wall"),
        "excel_cells_cpu_ratio_to_fastexcel": ("excel_cells", "fastexcel_read", "cpu"),
    }
    for metric, (ours, peer, what) in ratios.items():
        mine, theirs = bench.median(ours, what), bench.median(peer, what)
        if mine is not None and theirs is not None:
            results[metric] = mine / theirs
    if (peak := bench.median("full_10m", "peak_mb")) is not None:
        results["peak_mb_10m"] = peak
    print()
    for metric, value in results.items():
        print(f"{metric:36} {value:.2f}")
    if bench.python is None:
        print("the peers could not be installed, so there are no ratios")
    write_document(file, results, bench.rows, peers=PEERS)


if __name__ == "__main__":
    sys.exit(main())
