"""The checks as Dagster runs them: silent on clean rows; on planted faults they warn and say what to do."""

import os
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from dagster import AssetCheckResult

from assets import data, features
from resources.home import HomeResource
from tidemill.data.ingest import ingest_pending
from tidemill.home import Home
from tidemill.project import load_project
from tidemill.store.state import open_state
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


def checks_of(station: ModuleType, home: Home) -> dict[str, Any]:
    parts = station.build(load_project(home, "churn"))
    return {spec.name: part for part in parts for spec in getattr(part, "check_specs", [])}


def run(home: Home, name: str, rows: pd.DataFrame) -> AssetCheckResult:
    found: Any = checks_of(features, home)[name](version_of(home, rows), HomeResource(root=str(home.root)))
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


def test_rejected_rows_are_told_until_they_are_made_up_for(churn: Home) -> None:
    def take(name: str, *rows: str) -> AssetCheckResult:
        path = churn.inbox("churn") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["customer,months,plan,left", *rows]) + "\n")
        os.utime(path, (1, 1))
        project = load_project(churn, "churn")
        version = ingest_pending(churn, open_state(churn), project).version
        found: Any = checks_of(data, churn)["rejects"](version, HomeResource(root=str(churn.root)))
        return found

    good = [f"c{number},{number},basic,no" for number in range(30)]
    told = take("one.csv", *good, "c90,many,basic,no")
    assert not told.passed
    assert "tidemill data rejects churn FILE --rows" in str(told.description)
    assert not take("other.csv", "c40,1,basic,no").passed
    assert take("one.csv", "c90,9,basic,no").passed
