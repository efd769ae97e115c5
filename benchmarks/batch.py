"""How many rows a second a file is scored at, and how much memory it takes, as the file grows.

    ./tidemill bench batch.py [--quick] [--json FILE]

Each run is `tidemill predict` in a process of its own, with a linear, a boosted and a forest model of 12 mixed
fields. Rows a second are of the whole command: start, reading, scoring, writing. `growth` is the peak memory at the
largest file over that at the smallest: bounded memory keeps it near 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from answering.model import ESTIMATORS, NAME, make, table

from tidemill.home import CHECKOUT, Home


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20,000 and 60,000 rows, the linear model alone")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    sizes = (20_000, 60_000) if options.quick else (100_000, 400_000, 1_000_000)
    estimators = ["linear"] if options.quick else list(ESTIMATORS)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        home = Home(Path(folder) / "home").ensure()
        make(home)
        for size in sizes:
            file = write(Path(folder) / f"{size}.csv", size)
            for version, estimator in enumerate(ESTIMATORS, start=1):
                # Forests are scored at the smallest size alone: a million rows of them takes minutes.
                if estimator in estimators and (estimator != "random_forest" or size == sizes[0]):
                    rows.append({"estimator": estimator, **score(home, file, version, size)})
                    print(rows[-1], file=sys.stderr, flush=True)
    results = {f"{row['estimator']}_{row['rows']}_rows_per_second": row["rows_per_second"] for row in rows}
    linear = [row["peak_bytes"] for row in rows if row["estimator"] == "linear"]
    results["growth"] = round(linear[-1] / linear[0], 3)
    document = {
        "results": results,
        "rows": rows,
        "machine": {"cpus": os.cpu_count(), "system": platform.platform()},
    }
    print(json.dumps(document["results"], indent=2))
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def write(file: Path, size: int) -> Path:
    """A CSV of `size` rows: those of the model's own table again and again."""
    one = table().drop(columns=["_row", "left"])
    repeats = -(-size // len(one))
    pd.concat([one] * repeats, ignore_index=True).head(size).to_csv(file, index=False)
    return file


def score(home: Home, file: Path, version: int, size: int) -> dict[str, Any]:
    """One run of the command: seconds, rows a second, peak resident bytes of its process."""
    out = file.with_name("out.csv")
    command = [sys.executable, "-m", "tidemill.cli", "predict", NAME, str(file), "--out", str(out)]
    began = time.perf_counter()
    done = subprocess.Popen(
        [*command, "--version", str(version), "--json"],
        cwd=CHECKOUT,
        env={**os.environ, "TIDEMILL_HOME": str(home.root)},
        stdout=subprocess.PIPE,
    )
    assert done.stdout is not None
    said = json.loads(done.stdout.read())
    _, status, usage = os.wait4(done.pid, 0)
    seconds = time.perf_counter() - began
    assert status == 0, f"exit status {status}"
    assert said["rows"] == size, said
    return {
        "rows": size,
        "seconds": round(seconds, 2),
        "rows_per_second": round(size / seconds),
        "peak_bytes": peak(usage),
    }


def peak(usage: resource.struct_rusage) -> int:
    """Peak resident bytes: Linux counts in KiB, macOS in bytes."""
    return int(usage.ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    sys.exit(main())
