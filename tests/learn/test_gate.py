"""The promotion gate: each rule, both directions, and reasons with numbers."""

import pytest

from tidemill.errors import InvalidInput
from tidemill.learn.comparison import Comparison
from tidemill.learn.evaluation import Evaluation
from tidemill.learn.gate import decide
from tidemill.learn.metrics import Interval
from tidemill.project import Column, Project


def project(task: str = "binary", **gates: object) -> Project:
    target = Column(type="float" if task == "regression" else "category", role="target")
    return Project(name="demo", task=task, columns={"x": Column(type="float"), "y": target}, gates=gates)


def evaluation(
    metric: str, value: float, low: float, high: float, baseline: float, rows: int = 90
) -> Evaluation:
    return Evaluation(metric, {metric: Interval(value, low, high)}, {metric: baseline}, rows)


@pytest.mark.parametrize(
    ("task", "found", "passed"),
    [
        ("binary", evaluation("roc_auc", 0.8, 0.6, 0.9, 0.5), True),
        ("binary", evaluation("roc_auc", 0.8, 0.5, 0.9, 0.5), False),
        ("binary", evaluation("roc_auc", 0.8, 0.4, 0.9, 0.5), False),
        ("regression", evaluation("rmse", 5.0, 4.0, 6.0, 7.0), True),
        ("regression", evaluation("rmse", 5.0, 4.0, 7.5, 7.0), False),
    ],
)
def test_the_worse_end_of_the_interval_must_beat_the_dummy(task, found, passed):
    decision = decide(found, project(task))
    assert decision.passed is passed
    assert len(decision.reasons) == (0 if passed else 1)
    assert [check.name for check in decision.checks] == ["beat_baseline"]


def test_a_reason_says_which_gate_and_by_how_much():
    [reason] = decide(evaluation("roc_auc", 0.8, 0.4, 0.9, 0.5), project()).reasons
    assert reason.startswith("beat_baseline")
    assert "by 0.1000" in reason


@pytest.mark.parametrize(
    ("task", "metric", "needed", "passed"),
    [
        ("binary", "roc_auc", 0.8, True),
        ("binary", "roc_auc", 0.81, False),
        ("regression", "rmse", 0.79, False),
    ],
)
def test_minimums_are_largest_values_for_errors(task, metric, needed, passed):
    described = project(task, beat_baseline=False, minimum={metric: needed})
    decision = decide(evaluation(metric, 0.8, 0.7, 0.9, 0.5), described)
    assert decision.passed is passed
    assert [(check.name, check.found, check.needed) for check in decision.checks] == [
        (f"minimum.{metric}", 0.8, needed)
    ]


def comparison(metric: str, value: float, low: float, high: float, rows: int = 90) -> Comparison:
    return Comparison(3, rows, {metric: 0.9}, {metric: Interval(value, low, high)})


@pytest.mark.parametrize(("allowed", "passed"), [(0.0, False), (0.05, False), (0.2, True)])
@pytest.mark.parametrize(("task", "metric", "sign"), [("binary", "roc_auc", -1), ("regression", "rmse", 1)])
def test_the_live_model_may_be_missed_by_so_much(allowed, passed, task, metric, sign):
    described = project(task, beat_baseline=False, not_worse_by=allowed)
    beside = comparison(metric, sign * 0.1, *sorted((sign * 0.02, sign * 0.18)))
    decision = decide(evaluation(metric, 0.8, 0.7, 0.9, 0.5), described, beside)
    assert decision.passed is passed
    assert decision.checks[0].found == pytest.approx(0.1)


@pytest.mark.parametrize(("allowed", "passed"), [(0.17, False), (0.19, True)])
@pytest.mark.parametrize(("task", "metric", "sign"), [("binary", "roc_auc", -1), ("regression", "rmse", 1)])
def test_a_careful_gate_takes_the_worse_end_of_the_loss(allowed, passed, task, metric, sign):
    described = project(task, beat_baseline=False, not_worse_by=allowed, surely_not_worse=True)
    beside = comparison(metric, sign * 0.1, *sorted((sign * 0.02, sign * 0.18)))
    decision = decide(evaluation(metric, 0.8, 0.7, 0.9, 0.5), described, beside)
    assert decision.passed is passed
    assert "by 0.0100" in decision.checks[0].message
    assert "0.0200 to 0.1800" in decision.checks[0].message


def test_a_better_model_is_never_worse():
    described = project(beat_baseline=False, not_worse_by=0.0, surely_not_worse=True)
    decision = decide(
        evaluation("roc_auc", 0.8, 0.7, 0.9, 0.5), described, comparison("roc_auc", 0.1, 0.01, 0.2)
    )
    assert decision.passed


def test_a_live_model_that_cannot_be_compared_refuses_where_the_gate_asks():
    lost = Comparison(3, reason="it needs 'age', which the features no longer have")
    found = evaluation("roc_auc", 0.8, 0.7, 0.9, 0.5)
    [reason] = decide(found, project(not_worse_by=0.1), lost).reasons
    assert "live model 3" in reason
    assert "'age'" in reason
    assert decide(found, project(), lost).passed


def test_a_live_model_of_other_rows_is_not_compared():
    with pytest.raises(InvalidInput):
        decide(
            evaluation("roc_auc", 0.8, 0.7, 0.9, 0.5),
            project(not_worse_by=0.1),
            comparison("roc_auc", -0.1, -0.2, 0.0, rows=10),
        )


def test_no_gates_let_everything_pass():
    decision = decide(evaluation("roc_auc", 0.1, 0.0, 0.2, 0.5), project(beat_baseline=False))
    assert (decision.passed, decision.checks) == (True, [])
