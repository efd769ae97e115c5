"""`tidemill predict NAME FILE`: score a whole file here, without the services. The work is `serve/batch.py`."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.home import Home

if TYPE_CHECKING:
    from tidemill.serve.batch import Scored


def add_options(predict: argparse.ArgumentParser) -> None:
    """The options of `tidemill predict`."""
    predict.set_defaults(command=run)
    predict.add_argument("name", metavar="NAME", help="the project")
    predict.add_argument("file", type=Path, metavar="FILE", help="CSV, Excel, Parquet or JSON lines")
    predict.add_argument(
        "--out", type=Path, metavar="FILE", help=".csv or .parquet (default: FILE.predictions.csv)"
    )
    predict.add_argument(
        "--version", type=int, metavar="V", help="the model version (default: the deployed one)"
    )
    predict.add_argument("--log", action="store_true", help="also write the prediction log (default: no)")
    predict.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace, home: Home) -> int:
    """Exit code 0 when every row was scored or has its error beside it."""
    from tidemill.serve.batch import score_file
    from tidemill.serve.batch_jobs import model_for
    from tidemill.settings import load_settings
    from tidemill.store.events import EventLog
    from tidemill.store.state import open_state

    home.require_project(options.name)
    state = open_state(home.ensure(), load_settings().database_url)
    target = options.out or options.file.with_name(f"{options.file.stem}.predictions.csv")
    live = model_for(home, state, options.name, options.version)
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        log = EventLog(home, options.name, "predictions") if options.log else None
        if log is not None:
            stack.callback(log.close)
        scored = score_file(live, options.file, target, log=log, on_progress=_shown)
    seconds = time.perf_counter() - began
    document = {
        "file": str(target),
        "rows": scored.rows,
        "errors": scored.errors,
        "model_version": live.scorer.version,
        "seconds": round(seconds, 3),
    }
    print(json.dumps(document) if options.json else _text(document))
    return 0


def _shown(scored: Scored) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{scored.rows} rows, {scored.errors} with errors", end="", file=sys.stderr, flush=True)


def _text(found: dict[str, object]) -> str:
    end = "\n" if sys.stderr.isatty() else ""
    errors = f"; {found['errors']} could not be scored, see the column _error" if found["errors"] else ""
    return f"{end}{found['rows']} rows by model {found['model_version']} in {found['file']}{errors}."
