"""The peers' sides of the ingest benchmark, each a process of its own in their environment: `peers.py WAY FILE
FOLDER`. Every one reads the file as its documentation shows and writes Parquet.

The peers are given a file without broken rows: none of them reads the other to its end under default settings.
`duckdb_rejects`, which keeps rejects, is given the whole.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from ingesting.data import SQL, TYPES
from ingesting.measure import measured

way, file, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
out = str(folder / "out.parquet")
wrote = {"paths": [out]}


def duckdb_copy() -> dict[str, Any]:
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute(f"COPY (FROM read_csv('{file}')) TO '{out}' (FORMAT parquet)")
    return wrote


def duckdb_rejects() -> dict[str, Any]:
    columns = ", ".join(f"'{name}': '{SQL[kind]}'" for name, kind in TYPES.items())
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute(
            f"COPY (FROM read_csv('{file}', columns = {{{columns}}}, header = true, delim = ',', quote = '\"', "
            f"store_rejects = true)) TO '{out}' (FORMAT parquet)"
        )
        connection.execute(f"COPY (FROM reject_errors) TO '{folder / 'rejects.csv'}'")
    return wrote


def polars_scan() -> dict[str, Any]:
    pl.scan_csv(file, try_parse_dates=True).sink_parquet(out)
    return wrote


def pyarrow_stream() -> dict[str, Any]:
    empty = pa_csv.ConvertOptions(strings_can_be_null=True)
    with (
        pa_csv.open_csv(file, convert_options=empty) as reader,
        pq.ParquetWriter(out, reader.schema) as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)
    return wrote


def pandas_read() -> dict[str, Any]:
    pd.read_csv(file, parse_dates=["born", "seen"]).to_parquet(out, index=False)
    return wrote


def pandera_checks() -> dict[str, Any]:
    frame = pd.read_csv(file, parse_dates=["born", "seen"])
    check, column = pandera.Check, pandera.Column
    schema = pandera.DataFrameSchema(
        {
            "id": column(nullable=False, unique=True),
            "customer": column(checks=check.ge(0)),
            "quantity": column(checks=check.in_range(0, 100)),
            "visits": column(checks=check.ge(0), nullable=True),
            "price": column(checks=check.in_range(0, 1000)),
            "discount": column(checks=check.in_range(0, 1), nullable=True),
            "balance": column(),
            "plan": column(checks=check.isin(["basic", "plus", "premium"])),
            "region": column(checks=check.isin(["north", "south", "east", "west"]), nullable=True),
            "channel": column(checks=check.isin(["web", "shop", "phone", "post", "partner"])),
            "member": column(),
            "active": column(nullable=True),
            "born": column(),
            "seen": column(),
            "note": column(nullable=True),
        }
    )
    schema.validate(frame, lazy=True).to_parquet(out, index=False)
    return wrote


def great_expectations() -> dict[str, Any]:
    frame = pd.read_csv(file, parse_dates=["born", "seen"])
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset("frame")
    e = gx.expectations
    filled = ("id", "customer", "quantity", "price", "balance", "plan", "channel", "member", "born", "seen")
    suite = gx.ExpectationSuite(
        name="contract",
        expectations=[
            *(e.ExpectColumnValuesToNotBeNull(column=name) for name in filled),
            e.ExpectColumnValuesToBeUnique(column="id"),
            e.ExpectColumnValuesToBeBetween(column="customer", min_value=0),
            e.ExpectColumnValuesToBeBetween(column="quantity", min_value=0, max_value=100),
            e.ExpectColumnValuesToBeBetween(column="visits", min_value=0),
            e.ExpectColumnValuesToBeBetween(column="price", min_value=0, max_value=1000),
            e.ExpectColumnValuesToBeBetween(column="discount", min_value=0, max_value=1),
            e.ExpectColumnValuesToBeInSet(column="plan", value_set=["basic", "plus", "premium"]),
            e.ExpectColumnValuesToBeInSet(column="region", value_set=["north", "south", "east", "west"]),
            e.ExpectColumnValuesToBeInSet(
                column="channel", value_set=["web", "shop", "phone", "post", "partner"]
            ),
        ],
    )
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    if not batch.validate(suite).success:
        raise SystemExit("the checks failed on good rows")
    frame.to_parquet(out, index=False)
    return wrote


def fastexcel_read() -> dict[str, Any]:
    frame = pl.read_excel(file)
    kept.append(frame)
    return {"rows": frame.height}


kept: list[Any] = []
match way:
    case "duckdb_copy" | "duckdb_rejects":
        import duckdb
    case "polars_scan":
        import polars as pl
    case "fastexcel_read":
        import fastexcel  # noqa: F401 - polars imports it while it reads
        import polars as pl
    case "pyarrow_stream":
        from pyarrow import csv as pa_csv
        from pyarrow import parquet as pq
    case "pandas_read":
        import pandas as pd
        import pyarrow.parquet  # noqa: F401 - pandas imports it while it writes
    case "pandera_checks":
        import pandas as pd
        import pandera.pandas as pandera
    case "great_expectations":
        import great_expectations as gx
        import pandas as pd

measured(globals()[way])
for frame in kept:
    # Afterwards, so that its answer can be compared: what is measured is the reading.
    frame.write_parquet(out)
