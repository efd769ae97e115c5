import json
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from tidemill.errors import Corrupt, InvalidInput
from tidemill.monitor.bins import make_binning
from tidemill.monitor.drift import (
    ColumnDrift,
    DriftReport,
    Reference,
    chi_square,
    drift_report,
    jensen_shannon,
    kolmogorov_smirnov,
    psi,
)
from tidemill.project import Project


def make_project(task: str = "binary", columns: dict[str, Any] | None = None, **monitoring: Any) -> Project:
    columns = columns or {
        **{f"x{index}": {"type": "float"} for index in range(6)},
        "age": {"type": "integer", "min": 0, "max": 100},
        "site": {"type": "category"},
        "smoker": {"type": "boolean"},
        "seen": {"type": "date"},
        "note": {"type": "text"},
        "constant": {"type": "float"},
    }
    target = "float" if task == "regression" else "category"
    return Project.model_validate(
        {
            "name": "ward",
            "task": task,
            "columns": {**columns, "outcome": {"type": target, "role": "target"}},
            "monitoring": monitoring,
        }
    )


def make_rows(count: int, seed: int) -> pd.DataFrame:
    """Rows of one world: correlated numbers, a rare category, some missing values."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=count)
    frame = pd.DataFrame({f"x{index}": shared + rng.normal(size=count) for index in range(6)})
    frame["x5"] = np.where(rng.random(count) < 0.6, 0.0, np.exp(frame["x5"]))
    frame["x4"] = np.where(rng.random(count) < 0.05, np.nan, frame["x4"])
    frame["age"] = rng.integers(20, 90, count)
    frame["site"] = rng.choice(["north", "south", "east", "rare"], count, p=[0.5, 0.3, 0.18, 0.02])
    frame["smoker"] = rng.random(count) < 0.2
    frame["seen"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 90, count), unit="D")
    frame["note"] = [("word " * length).strip() for length in rng.integers(1, 30, count)]
    frame["constant"] = 1.0
    frame["_score"] = 1 / (1 + np.exp(-3 * shared))
    return frame


def column(report: DriftReport, name: str) -> ColumnDrift:
    return next(found for found in report.columns if found.column == name)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(make_rows(426, seed=1), make_project(false_alarms=0.05))


def test_windows_without_a_shift_alarm_as_often_as_the_budget_says() -> None:
    alarms = windows = 0
    for world in range(6):  # the rate is over references as well: one reference alone has luck of its own
        reference = Reference(make_rows(426, seed=1000 + world), make_project(false_alarms=0.05))
        for seed in range(50):
            report = reference.compare(make_rows(200, seed=5000 + 100 * world + seed))
            alarms += report.verdict == "drift"
            windows += 1
    assert 0.0 <= alarms / windows <= 0.09, f"{alarms} of {windows}"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("x0", lambda rows: rows["x0"] + 1.2),
        ("x5", lambda rows: rows["x5"] * 3 + 0.5),
        ("age", lambda rows: rows["age"] + 25),
        ("site", lambda rows: rows["site"].where(rows["site"] != "north", "west")),
        ("smoker", lambda rows: np.arange(len(rows)) % 2 == 0),
        ("seen", lambda rows: rows["seen"] + pd.Timedelta(days=60)),
        ("note", lambda rows: rows["note"] + " and then some more words" * 3),
        ("x4", lambda rows: rows["x4"].where(np.arange(len(rows)) % 2 == 0)),
        ("constant", lambda rows: np.where(np.arange(len(rows)) % 10 == 0, 2.0, 1.0)),
        ("_prediction", lambda rows: np.sqrt(rows["_score"])),
    ],
)
def test_a_shift_of_one_column_is_found_in_that_column(reference: Reference, name: str, change: Any) -> None:
    rows = make_rows(400, seed=77)
    source = "_score" if name == "_prediction" else name
    report = reference.compare(rows.assign(**{source: change(rows)}), model_version=3)
    assert report.verdict == "drift"
    assert name in report.drifted
    assert len(report.drifted) <= 2
    assert report.columns[0].column == name


def test_a_column_says_what_changed(reference: Reference) -> None:
    rows = make_rows(400, seed=77)
    rows["site"] = rows["site"].where(rows["site"] != "north", "west")
    rows["age"] = rows["age"].where(rows["age"] > 40, 150)
    rows["x0"] = rows["x0"].where(np.arange(len(rows)) % 4 != 0)
    report = reference.compare(rows)
    assert column(report, "site").new_categories == ["west"]
    assert column(report, "age").out_of_range == pytest.approx((rows["age"] == 150).mean())
    assert column(report, "x0").missing_current == 0.25
    assert column(report, "x0").missing_reference == 0.0
    assert column(report, "site").ks is None
    assert column(report, "age").chi2 is None
    for found in report.columns:
        assert len(found.bins) == len(found.reference_share) == len(found.current_share)
        assert sum(found.current_share) == pytest.approx(1)


def test_the_statistics_are_those_of_scipy() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=200), rng.normal(0.3, 1, size=150)
    ks = kolmogorov_smirnov(np.append(first, np.nan), second)
    assert ks == pytest.approx(stats.ks_2samp(first, second).statistic)
    before, after = np.array([50.0, 30, 20, 0]), np.array([20.0, 30, 10, 0])
    chi2 = stats.chi2_contingency(np.vstack([before, after])[:, :3], correction=False).statistic
    assert chi_square(before, after) == pytest.approx(chi2)
    shares = before / before.sum(), after / after.sum()
    assert jensen_shannon(*shares) == pytest.approx(jensenshannon(*shares, base=2))


def test_psi_is_the_textbook_formula_but_for_a_little_smoothing() -> None:
    before, after = np.array([5000.0, 3000, 2000]), np.array([4000.0, 3500, 2500])
    r, c = before / before.sum(), after / after.sum()
    assert float(psi(before, after)) == pytest.approx(float(((c - r) * np.log(c / r)).sum()), rel=1e-3)
    assert float(psi(before, before)) == 0.0
    assert np.isfinite(psi(np.array([10.0, 0, 0]), np.array([0.0, 10, 0])))


def test_psi_without_drift_is_about_what_is_said_beside_it(reference: Reference) -> None:
    rng = np.random.default_rng(5)
    shares = np.full(10, 0.1)
    found = psi(
        rng.multinomial(426, shares, 2000).astype(float), rng.multinomial(300, shares, 2000).astype(float)
    )
    assert found.mean() == pytest.approx(9 * (1 / 426 + 1 / 300), rel=0.1)
    expected = column(reference.compare(make_rows(300, seed=9)), "x0").expected_without_drift
    assert expected == pytest.approx(9 * (1 / 426 + 1 / 300))


def test_too_few_rows_give_no_verdict(reference: Reference) -> None:
    report = reference.compare(make_rows(49, seed=2))
    assert (report.verdict, report.columns, report.rows) == ("too few rows", [], 49)
    assert reference.compare(make_rows(49, seed=2).iloc[:0]).verdict == "too few rows"


def test_a_report_survives_json(reference: Reference) -> None:
    rows = make_rows(80, seed=2)
    rows["at"] = pd.date_range("2026-03-01", periods=80, freq="h")
    report = reference.compare(rows.assign(x3=np.nan), model_version=2)
    assert report.window_to == "2026-03-04T07:00:00.000+00:00"
    text = json.dumps(report.to_json(), allow_nan=False)
    assert DriftReport.from_json(json.loads(text)) == report
    with pytest.raises(Corrupt):
        DriftReport.from_json({"columns": [], "nonsense": 1})


def test_a_missing_column_and_an_empty_reference_are_told(reference: Reference) -> None:
    with pytest.raises(InvalidInput, match="x0"):
        reference.compare(make_rows(80, seed=2).drop(columns="x0"))
    with pytest.raises(InvalidInput):
        drift_report(make_rows(0, seed=2), make_rows(80, seed=2), make_project())


def test_predictions_of_other_tasks_are_compared_by_label_and_by_value() -> None:
    rng = np.random.default_rng(1)
    columns = {"x": {"type": "float"}}
    labels = pd.DataFrame({"x": rng.normal(size=300), "_prediction": rng.choice(["a", "b", "c"], 300)})
    report = drift_report(labels, labels.assign(_prediction="a"), make_project("multiclass", columns))
    assert report.drifted == ["_prediction"]
    assert column(report, "_prediction").kind == "category"
    numbers = labels.assign(_prediction=rng.normal(size=300))
    shifted = numbers.assign(_prediction=numbers["_prediction"] + 2)
    report = drift_report(numbers, shifted, make_project("regression", columns))
    assert report.drifted == ["_prediction"]
    assert drift_report(
        numbers, numbers.drop(columns="_prediction"), make_project("regression", columns)
    ).columns


def test_reference_rows_without_an_answer_do_not_look_like_drift() -> None:
    rows = make_rows(426, seed=1)
    rows.loc[:120, "_score"] = np.nan
    report = drift_report(rows, make_rows(400, seed=8), make_project(false_alarms=0.01))
    assert report.verdict == "stable"


@pytest.mark.parametrize(
    "values",
    [[], [None, None], [1.0], [1.0, 1.0, 1.0], [0.0] * 50 + [1.0], list(range(5)), [float("inf"), 1.0, 2.0]],
)
def test_every_reference_value_falls_in_a_bin_and_the_last_bin_is_for_missing(values: list[Any]) -> None:
    series = pd.Series(values, dtype="float64")
    binning = make_binning("x", "number", series)
    counts = binning.counts(series)
    assert counts.sum() == len(values)
    assert counts[-1] == series.isna().sum()
    assert len(counts) == len(binning.labels)


def test_thirty_three_columns_take_less_than_two_seconds() -> None:
    rng = np.random.default_rng(1)
    columns = {f"c{index}": {"type": "float"} for index in range(33)}
    rows = pd.DataFrame(rng.normal(size=(569, 33)), columns=list(columns))
    project = make_project(columns=columns)
    began = time.perf_counter()
    drift_report(rows, rows, project)
    assert time.perf_counter() - began < 2


def test_many_reference_rows_take_the_way_by_columns() -> None:
    rng = np.random.default_rng(1)
    columns = {"a": {"type": "float"}, "b": {"type": "float"}}
    rows = pd.DataFrame(rng.normal(size=(30_000, 2)), columns=list(columns))
    current = pd.DataFrame(rng.normal(size=(5_000, 2)), columns=list(columns))
    project = make_project(columns=columns)
    assert drift_report(rows, current, project).verdict == "stable"
    assert drift_report(rows, current + 0.2, project).verdict == "drift"
