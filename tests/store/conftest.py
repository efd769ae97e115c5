"""Events of one project, for the tests of its log."""

from collections import Counter
from typing import Any
from uuid import uuid4

import duckdb

from tidemill.home import Home
from tidemill.store.history import read

PROJECT = "ward"


def event(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "at": f"2026-03-{1 + number % 3:02d}T10:00:00.{number % 1000:03d}+00:00",
        "project": PROJECT,
        "model_version": 1,
        "role": "champion",
        "request_id": "r",
        "entity_id": None,
        "input": {"age": number, "site": "a\nb\u2028 'quoted'"},
        "label": "ill",
        "score": 0.25,
        "probabilities": {"ill": 0.25, "well": 0.75},
        "flags": [{"field": "age", "problem": "out_of_range", "action": "flagged"}],
        "latency_ms": 1.5,
        **changes,
    }


def ids(home: Home) -> Counter[str]:
    """How often each prediction is found."""
    with duckdb.connect(":memory:") as con:
        view = read(home, PROJECT, "predictions", con).name
        return Counter(row[0] for row in con.execute(f"SELECT id FROM {view}").fetchall())
