"""What a model card tells of the studies: curves, slices, importance, fairness and the rest, each with its caveats.

Here belongs putting an evaluation's findings into words, tables and charts. Finding them is `learn/studies.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidemill.learn import card_charts
from tidemill.learn.bundle_info import BundleInfo
from tidemill.learn.card_parts import Block, Chart, Charts, Code, Paragraph, Section, Table, Text, Tone

MOST_SLICES = 12
MOST_COLUMNS = 15

_NAMES = {
    "roc_auc": "ROC AUC",
    "f1": "F1",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "linear": "a linear model",
    "random_forest": "a random forest",
    "hist_gradient_boosting": "gradient boosting",
}


def named(name: str) -> str:
    """A metric or estimator as people write it."""
    return _NAMES.get(name, name.replace("_", " "))


def number(value: float | None) -> str:
    """Four decimals for small values, about four figures for large ones."""
    if value is None:
        return "–"
    decimals = 4 if abs(value) < 1 else 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
    return f"{value:,.{decimals}f}"


def ranged(found: Mapping[str, float]) -> str:
    """The ends of an interval."""
    return f"{number(found['low'])} to {number(found['high'])}"


def with_range(found: Mapping[str, float] | None) -> str:
    """A value with its interval in brackets."""
    return f"{number(found['value'])} ({ranged(found)})" if found is not None else "–"


def study_sections(bundle: BundleInfo) -> list[Section]:
    """The sections of the studies that were made."""
    found = bundle.evaluation
    if found is None:
        return []
    made = [
        ("Answers against the truth", _answers(found)),
        ("Where it is weaker", _slices(found)),
        ("What it leans on", _importance(found)),
        ("Where the residuals lean to one side", _residuals(found)),
        ("How groups are treated", _fairness(found)),
        ("Does it hold beyond the train rows", _beyond(found)),
    ]
    return [Section(title, blocks) for title, shown in made if (blocks := list(shown))]


def _answers(found: Mapping[str, Any]) -> Iterator[Block]:
    charts = []
    most, classes = card_charts.MOST_LINES, len(found.get("classes") or [])
    which = f"The {most} commonest of {classes} classes." if len(found.get("roc") or []) > most else ""
    if found.get("roc"):
        rate = ("False positive rate", "True positive rate")
        charts.append(Chart("ROC", card_charts.curves(found["roc"], *rate, diagonal=True), which))
    if found.get("pr"):
        drawn = card_charts.curves(found["pr"], "Recall", "Precision")
        charts.append(Chart("Precision and recall", drawn, which))
    if found.get("calibration"):
        caption = "On the dotted line a probability of 0.8 comes true 8 times in 10; bars are 95 % intervals."
        charts.append(Chart("Calibration", card_charts.calibration(found["calibration"]), caption))
    confusion = found.get("confusion")
    if confusion:
        drawn = card_charts.confusion(confusion["classes"], confusion["counts"])
        at = f" at a threshold of {found['threshold']:g}" if found.get("threshold") is not None else ""
        charts.append(Chart(f"Confusion{at}", drawn))
    if found.get("residuals"):
        charts.append(Chart("Actual against predicted", card_charts.residuals(found["residuals"])))
    if charts:
        yield Charts(charts)
    if confusion and len(confusion["classes"]) <= 12:
        rows: list[list[Text]] = [
            [Code(str(name)), *map(str, counts)]
            for name, counts in zip(confusion["classes"], confusion["counts"], strict=True)
        ]
        columns = ["True class", *(f"found {name}" for name in confusion["classes"])]
        yield Table(columns, rows, frozenset(range(1, len(columns))))
    if measured := found.get("calibration_error"):
        error, chance = measured["error"], measured["error_by_chance"]
        off = error["value"] > chance
        said = (
            "more than chance explains: read probabilities as ranks, or calibrate"
            if off
            else "no more than chance explains"
        )
        yield Paragraph(
            f"Expected calibration error {with_range(error)}, {said} (a calibrated model stays below "
            f"{number(chance)} in 95 of 100 samples of {measured['rows']} rows). "
            f"Brier score {with_range(measured['brier'])}.",
            "warn" if off else "plain",
        )


def _slices(found: Mapping[str, Any]) -> Iterator[Block]:
    shown = found.get("slices") or []
    judged = [one for one in shown if one["metric"] is not None]
    left = len(shown) - len(judged)
    if not judged:
        if left:
            yield Paragraph(f"None of {left} slices has rows enough to be judged.")
        return
    weak = [one for one in judged if one["is_worse"]]
    metric = named(found["metric"])
    if weak:
        names = "; ".join(f"{one['column']} = {one['name']}" for one in weak[:5])
        yield Paragraph(f"{metric} is worse than on the other rows where {names}.", "warn")
    else:
        yield Paragraph(
            f"No slice is worse than the other rows by more than chance among {len(judged)} explains."
        )
    top = judged[:MOST_SLICES]
    drawn = [(f"{one['column']} = {one['name']}", one["metric"], one["is_worse"]) for one in top]
    whole = found["metrics"][found["metric"]]["value"]
    caption = "Red: worse after adjusting for the number of slices. Dotted: all held-out rows."
    yield Charts([Chart(f"{metric} by slice", card_charts.intervals(drawn, whole, metric), caption)])
    rows: list[list[Text]] = [
        [
            (Code(one["column"]), " = ", Code(one["name"])),
            str(one["rows"]),
            with_range(one["metric"]),
            number(one["rest"]),
            with_range(one["worse_by"]),
            _p(one["p"]),
        ]
        for one in top
    ]
    tones: dict[int, Tone] = {place: "bad" for place, one in enumerate(top) if one["is_worse"]}
    columns = ["Slice", "Rows", f"{metric} (95 %)", "Other rows", "Worse by (95 %)", "p, adjusted"]
    caption = (
        f"Ordered by the loss that is sure. {len(judged)} slices were judged, on {found.get('studied_rows')} "
        f"held-out rows; p is adjusted by Holm for their number, the intervals are not."
    )
    if left:
        caption += f" {left} more have too few rows, or too few of a class, to judge."
    yield Table(columns, rows, frozenset(range(1, 6)), tones, caption)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _importance(found: Mapping[str, Any]) -> Iterator[Block]:
    study = found.get("importance")
    if not study or not study["columns"]:
        return
    top = study["columns"][:MOST_COLUMNS]
    drawn = [
        (
            one["column"],
            {
                "value": one["drop"],
                "low": one["drop"] - 2 * one["std"],
                "high": one["drop"] + 2 * one["std"],
            },
            False,
        )
        for one in top
    ]
    metric = named(study["metric"])
    caption = (
        f"Loss of {metric} when the column is shuffled; bars are two standard deviations of the repeats."
    )
    yield Charts(
        [Chart("Permutation importance", card_charts.intervals(drawn, 0.0, f"Loss of {metric}"), caption)]
    )
    rows: list[list[Text]] = [
        [Code(one["column"]), number(one["drop"]), number(one["std"]), ", ".join(one["correlated"][:4])]
        for one in top
    ]
    more = len(study["columns"]) - len(top)
    left_out = len(study["columns_left_out"])
    note = (
        f"{study['repeats']} shuffles on {study['rows']} held-out rows. It tells what this model leans on, not "
        f"what causes the outcome; columns that move together share their importance, so each alone looks small."
    )
    note += f" {more} less important columns are not shown." if more else ""
    note += f" {left_out} columns could not be looked at in the time." if left_out else ""
    yield Table(
        ["Column", f"Loss of {metric}", "Spread", "Moves with"], rows, frozenset({1, 2}), caption=note
    )


def _residuals(found: Mapping[str, Any]) -> Iterator[Block]:
    told = [one for one in found.get("residuals_by") or [] if one["p"] < 0.05]
    if not found.get("residuals_by"):
        return
    if not told:
        yield Paragraph("No column explains more of the residuals than chance does.")
        return
    for one in told[:3]:
        rows: list[list[Text]] = [
            [Code(group["name"]), str(group["rows"]), with_range(group["mean"])] for group in one["groups"]
        ]
        caption = (
            f"{one['column']} explains {one['explained']:.1%} of the residuals' variance (p {_p(one['p'])}, "
            f"adjusted for the number of columns). Above zero the model guesses too low."
        )
        columns = [one["column"], "Rows", "Mean residual (95 %)"]
        yield Table(columns, rows, frozenset({1, 2}), caption=caption)


def _fairness(found: Mapping[str, Any]) -> Iterator[Block]:
    for one in found.get("fairness") or []:
        if not one["groups"]:
            yield Paragraph(f"{one['column']}: {one['note']}.", "warn")
            continue
        rates = list(one["groups"][0]["rates"])
        rows: list[list[Text]] = []
        for group in one["groups"]:
            name = f"{group['name']}{' *' if group['few'] else ''}"
            cells = [_treated(group, rate) for rate in rates]
            rows.append([Code(name), str(group["rows"]), *cells])
        outcome = f" of the class {one['outcome']}" if one["outcome"] is not None else ""
        largest = "; ".join(f"{named(rate)} {number(gap)}" for rate, gap in one["largest"].items())
        caption = (
            f"By {one['column']}{outcome}. Beside each rate stands its difference from {one['reference']}, the "
            f"largest group, with its 95 % interval."
        )
        caption += f" Largest differences between groups: {largest}." if largest else ""
        caption += (
            " * fewer than 30 rows behind a rate." if any(group["few"] for group in one["groups"]) else ""
        )
        columns = [one["column"], "Rows", *(named(rate).capitalize() for rate in rates)]
        yield Table(columns, rows, frozenset({1}), caption=caption)
    if found.get("fairness"):
        yield Paragraph(
            "The figures say how groups are treated. Which difference is unjust is for people to say."
        )


def _treated(group: Mapping[str, Any], rate: str) -> str:
    gap = group["differences"].get(rate)
    shown = with_range(group["rates"][rate])
    return (
        f"{shown}; difference {gap['value']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f})" if gap else shown
    )


def _beyond(found: Mapping[str, Any]) -> Iterator[Block]:
    gaps, curve = found.get("gaps"), found.get("learning_curve")
    if gaps:
        warnings: Sequence[str] = gaps["warnings"]
        for warning in warnings:
            yield Paragraph(warning[:1].upper() + warning[1:] + ".", "warn")
        if not warnings:
            yield Paragraph("No gap is larger than chance and custom explain.")
        metric = named(gaps["metric"])
        rows: list[list[Text]] = [
            [
                f"Train rows (sample of {gaps['train_rows']})",
                number(gaps["train"]),
                with_range(gaps["train_loss"]),
            ]
        ]
        if gaps["cv_loss"] is not None:
            rows.append(["Cross-validation", number(gaps["cv"]), with_range(gaps["cv_loss"])])
        rows.append(["Held-out rows", number(gaps["test"]), ""])
        yield Table(["Rows", metric, "Lost on held-out rows (95 %)"], rows, frozenset({1, 2}))
    if curve:
        metric = named(curve["metric"])
        drawn = card_charts.learning_curve(curve["points"], metric)
        yield Charts([Chart("Learning curve", drawn, _rising(curve))])
        points: list[list[Text]] = [[f"{rows:,}", with_range(one)] for rows, one in curve["points"]]
        yield Table(["Train rows", f"{metric} (95 %)"], points, frozenset({0, 1}))


def _rising(curve: Mapping[str, Any]) -> str:
    said = "The settings of this model, fitted on parts of the train rows and measured on held-out rows."
    return f"{said} {curve['note'].capitalize()}." if curve["note"] else said
