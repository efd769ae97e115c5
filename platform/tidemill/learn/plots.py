"""Small PNG plots of an evaluation and of the candidates, for Dagster's and MLflow's pages.

Only drawing belongs here. Figures are made without pyplot, which keeps global state and asks for a display.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tidemill.learn.evaluation import Evaluation
from tidemill.learn.training import Candidate, Training
from tidemill.project import SMALLER_IS_BETTER

_BLUE, _GREY = "#1f6f8b", "#9aa5ad"
_MOST_NAMED = 12
_MOST_SETTINGS = 30


def plot_evaluation(evaluation: Evaluation) -> bytes:
    """The plots that fit the task side by side: confusion, ROC and calibration, or actual against predicted."""
    panels = _panels(evaluation)
    figure = Figure(figsize=(3.6 * len(panels), 3.4), dpi=100, layout="constrained")
    for place, draw in enumerate(panels.values()):
        draw(figure.add_subplot(1, len(panels), place + 1), evaluation)
    return _png(figure)


def evaluation_plots(evaluation: Evaluation) -> dict[str, bytes]:
    """The same plots one by one, by name: confusion, roc, pr and calibration, or residuals; also importance."""
    panels = _panels(evaluation) | ({"pr": _draw_precision_recall} if evaluation.pr else {})
    if evaluation.importance and evaluation.importance["columns"]:
        panels["importance"] = _draw_importance
    drawn = {}
    for name, draw in panels.items():
        figure = Figure(figsize=(3.8, 3.4), dpi=100, layout="constrained")
        draw(figure.add_subplot(), evaluation)
        drawn[name] = _png(figure)
    return drawn


def _panels(evaluation: Evaluation) -> dict[str, Callable[[Axes, Evaluation], None]]:
    if evaluation.residuals:
        return {"residuals": _draw_residuals}
    panels: dict[str, Callable[[Axes, Evaluation], None]] = {"confusion": _draw_confusion}
    if evaluation.roc:
        panels["roc"] = _draw_roc
    return {**panels, "calibration": _draw_calibration}


def _draw_roc(axes: Axes, evaluation: Evaluation) -> None:
    _dress(axes, "False positive rate", "True positive rate", "ROC")
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=1)
    _draw_curves(axes, evaluation.roc)


def _draw_precision_recall(axes: Axes, evaluation: Evaluation) -> None:
    _dress(axes, "Recall", "Precision", "Precision and recall")
    _draw_curves(axes, evaluation.pr)
    axes.set_ylim(0, 1.02)


def _draw_curves(axes: Axes, curves: dict[str, list[list[float]]]) -> None:
    for name, points in curves.items():
        axes.plot([x for x, _ in points], [y for _, y in points], linewidth=1.6, label=_plain(name))
    axes.legend(fontsize=7, frameon=False)


def _draw_confusion(axes: Axes, evaluation: Evaluation) -> None:
    _dress(axes, "Predicted", "True", f"Confusion ({evaluation.rows} held-out rows)")
    assert evaluation.confusion is not None
    classes, counts = evaluation.confusion["classes"], evaluation.confusion["counts"]
    axes.imshow(counts, cmap="Blues")
    if len(classes) > _MOST_NAMED:
        return
    names = [_plain(name) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), names)
    most = max(max(line) for line in counts) or 1
    for true, line in enumerate(counts):
        for predicted, count in enumerate(line):
            colour = "white" if count > most / 2 else "black"
            axes.text(predicted, true, str(count), ha="center", va="center", color=colour, fontsize=8)


def _draw_calibration(axes: Axes, evaluation: Evaluation) -> None:
    _dress(axes, "Predicted probability", "Observed share", "Calibration")
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=1)
    points = evaluation.calibration
    axes.plot(
        [p["predicted"] for p in points], [p["observed"] for p in points], "o-", color=_BLUE, markersize=4
    )


def _draw_residuals(axes: Axes, evaluation: Evaluation) -> None:
    _dress(axes, "Predicted", "Actual", f"{evaluation.rows} held-out rows")
    predicted = [pair[0] for pair in evaluation.residuals]
    actual = [pair[1] for pair in evaluation.residuals]
    ends = [min(*predicted, *actual), max(*predicted, *actual)]
    axes.plot(ends, ends, color=_GREY, linestyle=":", linewidth=1)
    axes.scatter(predicted, actual, s=9, color=_BLUE, alpha=0.6, linewidths=0)


def _draw_importance(axes: Axes, evaluation: Evaluation) -> None:
    assert evaluation.importance is not None
    metric = evaluation.importance["metric"]
    _dress(axes, f"Loss of {metric} when shuffled", "", "Permutation importance")
    # Drawn from below, so that the most important stands on top.
    shown = evaluation.importance["columns"][:_MOST_NAMED][::-1]
    axes.barh(
        range(len(shown)),
        [found["drop"] for found in shown],
        xerr=[found["std"] for found in shown],
        color=_BLUE,
        ecolor=_GREY,
    )
    axes.axvline(0, color=_GREY, linewidth=1)
    axes.set_yticks(range(len(shown)), [_plain(found["column"]) for found in shown])


def plot_candidates(training: Training) -> bytes:
    """Cross-validated metric of each candidate, its folds as dots, and the dummy's as a dotted line."""
    baseline = training.baseline.metrics[training.metric]
    return _compared(
        [(found.name, found.cv_scores) for found in training.candidates], training.metric, baseline
    )


def plot_folds(candidate: Candidate) -> bytes:
    """Cross-validated metric of each setting the search tried for one candidate, its folds as dots."""
    rows = [(f"setting {index + 1}", trial.scores) for index, trial in enumerate(candidate.trials)]
    return _compared(rows[:_MOST_SETTINGS], candidate.metric, None)


def _compared(rows: Sequence[tuple[str, list[float]]], metric: str, baseline: float | None) -> bytes:
    figure = Figure(figsize=(4.8, 0.7 + 0.4 * (len(rows) + 1)), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for place, (_, scores) in enumerate(rows):
        axes.scatter(scores, [place] * len(scores), s=12, color=_GREY)
        axes.scatter([sum(scores) / len(scores)], [place], s=36, color=_BLUE, zorder=3)
    better = "smaller" if metric in SMALLER_IS_BETTER else "larger"
    dotted = ""
    if baseline is not None:
        axes.axvline(baseline, color=_GREY, linestyle=":", linewidth=1)
        dotted = "; dotted: dummy"
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"{metric} in cross-validation ({better} is better{dotted})", fontsize=8)
    axes.tick_params(labelsize=8)
    return _png(figure)


def _dress(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=8)


def _plain(text: str) -> str:
    """A class's name as matplotlib shows it literally: `$` would start a formula, `_` hides it from legends."""
    short = text if len(text) <= 24 else text[:23] + "…"
    return short.replace("$", r"\$") if not short.startswith("_") else " " + short.replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()
