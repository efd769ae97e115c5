"""The checks as Dagster runs them: silent on clean rows; on planted faults they warn and say what to do."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from dagster import AssetCheckResult

from assets import features as station
from resources.home import HomeResource
from tidemill.home import Home
from tidemill.project import load_project
from tidemill.store.tables import TableStore, TableVersion

ROWS = 400


def clean() -> pd.DataFrame:
    """Rows of `churn`: who stays long does not leave."""
    rng = np.random.default_rng(5)
    leaves = rng.integers(0, 2, ROWS).astype(bool)
    return pd.DataFrame(
        {
            "_row": [f"c{number}" for number in range(ROWS)],
            "_split": ["test" if number % 4 == 0 else "train" for number in range(ROWS)],
            "_label": np.where(leaves, "yes", "no"),
            "months": rng.permutation(5_000)[:ROWS] + np.where(leaves, 0, 4_900),
            "plan": np.where(leaves, "basic", "plus"),
        }
    )


def version_of(home: Home, rows: pd.DataFrame) -> TableVersion:
    table = pa.Table.from_pandas(rows, preserve_index=False)
    return TableStore(home.tables("churn")).publish_frame("features", table)


def run(home: Home, name: str, rows: pd.DataFrame) -> AssetCheckResult:
    checks = {
        spec.name: check
        for check in station.build(load_project(home, "churn"))
        for spec in getattr(check, "check_specs", [])
    }
    found: Any = checks[name](version_of(home, rows), HomeResource(root=str(home.root)))
    return found


@pytest.mark.parametrize("name", ["quality", "label_noise"])
def test_clean_rows_raise_no_concern(churn: Home, name: str) -> None:
    assert run(churn, name, clean()).passed


def test_wrong_labels_are_named_with_what_to_do(churn: Home) -> None:
    rows = clean()
    wrong = rows.index[:20]
    rows.loc[wrong, "_label"] = rows.loc[wrong, "_label"].map({"yes": "no", "no": "yes"})
    found = run(churn, "label_noise", rows)
    assert not found.passed
    assert "correct the labels that are wrong" in str(found.description)
    named = {each["_row"] for each in found.metadata["suspects"].value}  # type: ignore[union-attr,index]
    assert len(named & set(rows.loc[wrong, "_row"])) >= 15
