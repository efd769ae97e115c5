"""Fairness by groups: rates counted by hand, differences, the largest gaps."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tidemill.learn.fairness import fairness
from tidemill.learn.proportions import difference, wilson
from tidemill.learn.scoring import Outputs, answers
from tidemill.project import Column, Project


def project(task: str = "binary", target: str = "category", kind: str = "category") -> Project:
    columns = {
        "x": Column(type="float"),
        "sex": Column(type=kind, role="ignore"),
        "y": Column(type=target, role="target"),
    }
    return Project(name="demo", task=task, columns=columns, evaluation={"fairness": ["sex"]})


def cell(sex: str, truth: str, score: float, times: int) -> list[tuple[str, str, float]]:
    return [(sex, truth, score)] * times


CELLS = [
    *(
        cell("f", "yes", 0.9, 30)
        + cell("f", "yes", 0.1, 10)
        + cell("f", "no", 0.9, 6)
        + cell("f", "no", 0.1, 54)
    ),
    *(
        cell("m", "yes", 0.9, 20)
        + cell("m", "yes", 0.1, 20)
        + cell("m", "no", 0.9, 8)
        + cell("m", "no", 0.1, 32)
    ),
]


def test_rates_and_differences_by_hand():
    table = pd.DataFrame({"_asked_sex": [sex for sex, _, _ in CELLS]})
    truth = np.array([truth for _, truth, _ in CELLS])
    scores = np.array([score for _, _, score in CELLS])
    found = answers(np.column_stack([1 - scores, scores]), ["no", "yes"], project())
    [one] = fairness(table, truth, found, project())
    assert (one.column, one.outcome, one.reference) == ("sex", "yes", "f")
    women, men = one.groups
    assert [women.rates[name].value for name in women.rates] == pytest.approx([0.36, 0.75, 0.1])
    assert [men.rates[name].value for name in men.rates] == pytest.approx([0.35, 0.5, 0.2])
    assert men.counts == {"selection_rate": 80, "true_positive_rate": 40, "false_positive_rate": 40}
    assert men.differences["true_positive_rate"] == difference(wilson(20, 40), wilson(30, 40))
    assert one.largest == pytest.approx(
        {"selection_rate": 0.01, "true_positive_rate": 0.25, "false_positive_rate": 0.1}
    )


def test_many_classes_are_taken_one_by_one():
    rng = np.random.default_rng(0)
    names = np.array(["a", "b", "c"])
    truth = names[rng.integers(0, 3, 120)]
    found = answers(rng.dirichlet(np.ones(3), 120), list(names), project("multiclass"))
    table = pd.DataFrame({"_asked_sex": ["f", "m"] * 60})
    shown = fairness(table, truth, found, project("multiclass"))
    assert sorted(one.outcome for one in shown) == ["a", "b", "c"]


def test_a_regression_compares_errors_by_student_and_welch():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=100)
    values = truth + rng.normal(size=100) + np.repeat([0.0, 1.0], [60, 40])
    table = pd.DataFrame({"_asked_sex": np.repeat(["f", "m"], [60, 40])})
    described = project("regression", "float")
    [one] = fairness(table, truth, Outputs(values, values, None, [], None), described)
    first, second = (values - truth)[:60], (values - truth)[60:]
    student = stats.ttest_1samp(first, 0).confidence_interval()
    assert one.groups[0].rates["mean_error"].low == pytest.approx(student.low)
    welch = stats.ttest_ind(second, first, equal_var=False).confidence_interval()
    gap = one.groups[1].differences["mean_error"]
    assert (gap.low, gap.high) == pytest.approx((welch.low, welch.high))


def test_a_flag_of_numbers_has_its_two_groups_however_rare_one_is():
    table = pd.DataFrame({"_asked_sex": pd.array([0] * 90 + [1] * 10, dtype="Int64")})
    scores = np.linspace(0, 1, 100)
    found = answers(np.column_stack([1 - scores, scores]), ["no", "yes"], project(kind="integer"))
    [one] = fairness(table, np.array(["no", "yes"] * 50), found, project(kind="integer"))
    assert [(group.name, group.rows) for group in one.groups] == [("0", 90), ("1", 10)]


def test_few_rows_are_marked_and_absent_columns_told():
    table = pd.DataFrame({"_asked_sex": ["f"] * 95 + ["m"] * 5})
    scores = np.linspace(0, 1, 100)
    found = answers(np.column_stack([1 - scores, scores]), ["no", "yes"], project())
    truth = np.array(["no", "yes"] * 50)
    [one] = fairness(table, truth, found, project())
    assert [group.few for group in one.groups] == [False, True]
    assert one.largest == {}
    [absent] = fairness(pd.DataFrame({"x": scores}), truth, found, project())
    assert "make the features again" in absent.note
