"""Calibration and threshold: what they gain on rows that chose nothing, and when they are left alone."""

import numpy as np
import pytest

from tidemill.learn.adjusting import choose_threshold
from tidemill.learn.bundle import write_bundle
from tidemill.learn.calibrating import choose_calibration, fit_calibration
from tidemill.learn.evaluation import evaluate
from tidemill.learn.training import train
from tidemill.project import Column, Project
from tidemill.project_training import Threshold
from tidemill.serve.calibration import Calibration
from tidemill.serve.scorer import open_scorer


def drawn(rows: int, seed: int, power: float = 1.0):
    """True probabilities, outcomes, and scores that are them to a power: too sure or too unsure of themselves."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.02, 0.98, rows)
    odds = (truth / (1 - truth)) ** power
    return truth, rng.random(rows) < truth, odds / (1 + odds), np.arange(rows) % 3


def test_scores_that_are_right_are_left_alone_and_sure_ones_are_put_right():
    _, hits, scores, folds = drawn(3_000, 0)
    left = choose_calibration("auto", scores, hits, folds)
    assert left.document is None
    assert np.array_equal(left.values, scores)
    _, hits, scores, folds = drawn(3_000, 0, power=3.0)
    found = choose_calibration("auto", scores, hits, folds)
    assert found.document is not None
    assert found.said["log_loss_after"] < found.said["log_loss_before"]
    truth, _, new, _ = drawn(3_000, 1, power=3.0)
    calibrated = Calibration(found.document).many(new)
    assert np.abs(calibrated - truth).mean() < 0.3 * np.abs(new - truth).mean()


@pytest.mark.parametrize("kind", ["sigmoid", "isotonic"])
def test_a_calibration_keeps_order_and_one_answer_is_as_many(kind):
    _, hits, scores, _ = drawn(2_000, 2, power=2.0)
    document = fit_calibration(kind, scores, hits)
    assert document is not None
    tried = np.concatenate([np.linspace(0, 1, 501), scores[:200]])
    many = Calibration(document).many(tried)
    assert np.abs(np.array([Calibration(document).one(float(each)) for each in tried]) - many).max() < 1e-12
    assert (np.diff(many[:501]) >= 0).all()
    assert ((many >= 0) & (many <= 1)).all()


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "sigmoid", "slope": -1.0, "offset": 0.0},
        {"kind": "isotonic", "x": [0.1, 0.1], "y": [0.0, 1.0]},
        {"kind": "isotonic", "x": [0.1, 0.2], "y": [0.5, 0.1]},
        {"kind": "other"},
    ],
)
def test_data_that_is_no_rising_map_is_refused(document):
    with pytest.raises(ValueError, match="calibration"):
        Calibration(document)


def test_few_scores_are_not_calibrated():
    _, hits, scores, folds = drawn(30, 0, power=3.0)
    assert choose_calibration("auto", scores, hits, folds).said["reason"] == "too few out-of-fold scores"


@pytest.mark.parametrize("aim", ["f1", "balanced_accuracy", "accuracy", "cost"])
def test_the_threshold_is_the_best_of_all(aim):
    _, hits, scores, _ = drawn(200, 3)
    wanted = Threshold.model_validate({"for": aim, "false_positive": 1, "false_negative": 5})
    threshold, value = choose_threshold(scores, hits, wanted)

    def worth(cut: float) -> float:
        said = scores >= cut
        caught, alarms, missed = (said & hits).sum(), (said & ~hits).sum(), (~said & hits).sum()
        return {
            "f1": 2 * caught / (2 * caught + alarms + missed),
            "accuracy": (said == hits).mean(),
            "balanced_accuracy": (said[hits].mean() + (~said)[~hits].mean()) / 2,
            "cost": -(alarms * 1 + missed * 5) / len(hits),
        }[aim]

    best = max(worth(cut) for cut in [0.0, *np.unique(scores) + 1e-12, 1.1])
    assert worth(threshold) == pytest.approx(best)
    assert value == pytest.approx(-best if aim == "cost" else best)


def test_missing_a_case_that_costs_more_lowers_the_threshold():
    _, hits, scores, _ = drawn(20_000, 4)
    aim = Threshold.model_validate({"for": "cost", "false_negative": 4})
    threshold, _ = choose_threshold(scores, hits, aim)
    # With true probabilities the best threshold is false_positive / (both costs) (Elkan, IJCAI 2001).
    assert threshold == pytest.approx(0.2, abs=0.05)


def test_both_are_kept_in_the_bundle_and_used_by_serving(tmp_path, binary):
    settings = {
        "candidates": ["hist_gradient_boosting"],
        "trials": 1,
        "calibration": "sigmoid",
        "threshold": {"for": "cost", "false_negative": 20},
    }
    project = Project.model_validate({**binary.project.model_dump(), "training": settings})
    training = train(binary.features, project)
    assert training.threshold is not None
    assert training.threshold < 0.4
    assert training.calibration["kind"] == "sigmoid"
    info = write_bundle(tmp_path, project=project, training=training, reference=binary.features)
    assert info.threshold == training.threshold
    assert info.provenance["scorer"]["form"] == "compiled"
    scorer = open_scorer(tmp_path, info.version, project)
    rows = binary.features.head(50)
    names = list(project.feature_columns)
    answers = scorer.score(rows[names].to_dict("records"))
    probabilities = training.best.pipeline.predict_proba(rows)
    place = list(training.best.pipeline.classes_).index("malignant")
    assert [answer.score for answer in answers] == pytest.approx(probabilities[:, place], abs=1e-9)
    assert [answer.label for answer in answers] == list(training.best.pipeline.predict(rows))
    assert evaluate(training.best.pipeline, binary.features, project).threshold == training.threshold
    # Out-of-fold answers are those of the chosen threshold.
    said = training.oof["_score"] >= training.threshold
    assert (said == (training.oof["_prediction"] == "malignant")).all()


def test_a_threshold_needs_a_binary_task():
    from tidemill.project_checks import contradictions

    columns = {"x": Column(type="float"), "y": Column(type="float", role="target")}
    project = Project(name="demo", task="regression", columns=columns, training={"threshold": "f1"})
    assert any(path == ("training", "threshold") for path, *_ in contradictions(project))
