"""Wrong labels that are planted are found by row; clean labels, and classes that overlap, raise no alarm."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from cleanlab.filter import find_label_issues
from sklearn.datasets import load_diabetes, load_iris, load_wine

from tidemill.labels.suspects import FAR, examine, off_diagonal, standardized, suspects
from tidemill.project import Column, Project


def project_of(table: pd.DataFrame, task: str = "multiclass", kind: str = "float") -> Project:
    columns = {name: Column(type=kind) for name in table.columns if name != "_row"}
    target = Column(type="float" if task == "regression" else "category", role="target")
    return Project(name="demo", task=task, columns=columns | {"y": target})


def named(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(_row=[f"r{index}" for index in range(len(table))])


def apart(distance: float, rows: int = 400, classes: int = 2) -> tuple[pd.DataFrame, pd.Series]:
    """Normal classes so many standard deviations apart."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, classes, rows)
    table = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["a", "b", "c"])
    table["a"] += codes * distance
    return named(table), pd.Series(np.array(["p", "q", "s"])[codes])


def flipped(labels: pd.Series, count: int) -> tuple[pd.Series, list[int]]:
    places = np.random.default_rng(4).choice(len(labels), count, replace=False)
    names = sorted(labels.unique())
    wrong = labels.copy()
    for place in places:
        wrong.iloc[place] = names[(names.index(labels.iloc[place]) + 1) % len(names)]
    return wrong, sorted(places)


def test_the_confident_joint_of_a_worked_example() -> None:
    # Means of the own probability: class 0 (0.9 + 0.8 + 0.1) / 3 = 0.6, class 1 (0.7 + 0.6 + 0.2) / 3 = 0.5.
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.4, 0.6], [0.8, 0.2]])
    found, likely = off_diagonal(probabilities, np.array([0, 0, 0, 1, 1, 1]))
    assert found.tolist() == [False, False, True, False, False, True]
    assert likely.tolist() == [0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize("seed", range(5))
def test_the_confident_joint_agrees_with_cleanlab(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([0.4, 0.5, 0.6, 0.7], 600)
    given = np.array([rng.choice(4, p=each) for each in probabilities])
    expected: Any = find_label_issues(given, probabilities, filter_by="confident_learning", n_jobs=1)
    found, _ = off_diagonal(probabilities, given)
    assert found.any()
    assert (found == expected).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_wrong_classes_are_named_by_row_with_the_likely_one(classes: int) -> None:
    table, labels = apart(6, 600, classes)
    wrong, places = flipped(labels, 30)
    found = examine(table, wrong, project_of(table))
    assert found.is_noisy
    assert list(found.suspects.columns) == ["_row", "given", "likely", "score"]
    rows = found.suspects.set_index("_row")
    hits = [place for place in places if f"r{place}" in rows.index]
    assert len(hits) >= 20
    assert len(rows) <= 36
    assert all(rows.loc[f"r{place}", "likely"] == labels.iloc[place] for place in hits)
    assert all(rows.loc[f"r{place}", "given"] == wrong.iloc[place] for place in hits)
    assert found.suspects["score"].is_monotonic_decreasing


@pytest.mark.parametrize("distance", [0, 1, 3])
@pytest.mark.parametrize("classes", [2, 3])
def test_classes_that_overlap_are_no_noise(distance: float, classes: int) -> None:
    table, labels = apart(distance, classes=classes)
    assert not examine(table, labels, project_of(table)).is_noisy


@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_clean_data_raises_no_alarm(load: Any) -> None:
    data = load(as_frame=True)
    table = named(data.data.rename(columns=lambda name: name.replace(" ", "_")))
    assert not examine(table, data.target.map(str), project_of(table)).is_noisy


def test_numbers_far_from_what_the_features_say() -> None:
    table = named(pd.DataFrame(np.random.default_rng(1).uniform(0, 10, (300, 2)), columns=["a", "b"]))
    labels = table["a"] * 3 + table["b"] + np.random.default_rng(2).normal(0, 0.2, 300)
    project = project_of(table, "regression")
    assert not examine(table, labels, project).is_noisy
    wrong = labels.copy()
    wrong.iloc[[5, 50, 200]] *= 10
    found = examine(table, wrong, project)
    assert found.is_noisy
    assert set(found.suspects["_row"]) == {"r5", "r50", "r200"}
    first = found.suspects.set_index("_row").loc["r5"]
    assert first["given"] == wrong.iloc[5]
    assert abs(first["likely"] - labels.iloc[5]) < 0.2 * wrong.iloc[5]


def test_clean_numbers_raise_no_alarm() -> None:
    data = load_diabetes(as_frame=True)
    table = named(data.data)
    assert examine(table, data.target, project_of(table, "regression")).suspects.empty


def test_a_residual_is_measured_by_its_like() -> None:
    rng = np.random.default_rng(1)
    predicted = np.linspace(1, 100, 1000)
    truth = predicted * (1 + rng.normal(0, 0.05, 1000))
    assert np.abs(standardized(truth, predicted)).max() < FAR
    truth[10] += 4  # far for a prediction of 2, nothing for one of 90
    truth[900] += 4
    scores = np.abs(standardized(truth, predicted))
    assert scores[10] > FAR > scores[900]


def test_a_large_table_is_sampled_and_that_is_said() -> None:
    table, labels = apart(5)
    found = examine(table, labels, project_of(table), most_rows=100)
    assert (found.rows, found.looked) == (400, 100)
    assert found.note == "a sample of 100 of 400 rows was judged"


def test_rare_classes_missing_labels_and_few_rows() -> None:
    table, labels = apart(5)
    labels = labels.astype(object)
    labels.iloc[0], labels.iloc[1:11] = "rare", None
    found = examine(table, labels, project_of(table))
    assert (found.rows, found.looked) == (390, 389)
    assert "rare" in found.note
    few = examine(table.head(20), labels.head(20), project_of(table))
    assert few.suspects.empty
    assert "least" in few.note
    assert list(suspects(table.head(20), labels.head(20), project_of(table)).columns) == [
        "_row",
        "given",
        "likely",
        "score",
    ]


def test_texts() -> None:
    words = {"good": "lovely warm friendly", "bad": "cold broken rude"}
    rng = np.random.default_rng(2)
    labels = pd.Series(rng.choice(["good", "bad"], 200))
    texts = [" ".join(rng.choice((words[each] + " the a room").split(), 12)) for each in labels]
    table = named(pd.DataFrame({"note": texts}))
    project = project_of(table, "text_classification", "text")
    assert not examine(table, labels, project).is_noisy
    wrong, places = flipped(labels, 12)
    found = examine(table, wrong, project)
    assert found.is_noisy
    assert len({f"r{place}" for place in places} & set(found.suspects["_row"])) >= 10
