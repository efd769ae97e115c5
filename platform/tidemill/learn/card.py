"""The model card: what a model is, how good, and what it is not for.

After Mitchell et al., "Model Cards for Model Reporting" (2019). What a card says is made here, from the bundle's
facts; its studies are told in `learn/card_studies.py`. `learn/card_markdown.py` and `learn/card_html.py` write it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.learn.bundle_info import BundleInfo, warnings_of
from tidemill.learn.card_html import html
from tidemill.learn.card_markdown import markdown
from tidemill.learn.card_parts import (
    Block,
    Bullets,
    Card,
    Code,
    Fact,
    Paragraph,
    Section,
    Table,
    Text,
    Tone,
)
from tidemill.learn.card_studies import named, number, ranged, study_sections

_SPLITS = {
    "random": "drawn by a hash of each row's key",
    "time": "the newest rows",
    "group": "whole groups, drawn by a hash of the group",
}

_TASKS = {
    "binary": "Binary classification",
    "multiclass": "Classification",
    "text_classification": "Classification of text",
    "regression": "Regression",
}


def model_card(bundle: BundleInfo, project: Mapping[str, Any]) -> str:
    """The card of `bundle` in Markdown; `project` has title, description, target, features and split."""
    return markdown(card_of(bundle, project))


def model_card_html(bundle: BundleInfo, project: Mapping[str, Any]) -> str:
    """The same card as one HTML page without outside resources."""
    return html(card_of(bundle, project))


def card_of(bundle: BundleInfo, project: Mapping[str, Any]) -> Card:
    """The card as sections; those of studies that were not made are absent."""
    verdict, tone = _verdict(bundle)
    description = project["description"] or (
        "The project file gives no description; write one under description: to say here what the model is for."
    )
    sections = [
        Section("Intended use", [Paragraph(description), _what(bundle, project)]),
        _gate(bundle),
        _metrics(bundle),
        *study_sections(bundle),
        _data(bundle, project),
        _limits(bundle, project),
        _provenance(bundle),
    ]
    return Card(
        title=f"{project['title']}: model {bundle.version}",
        subtitle=f"{_TASKS.get(bundle.task, bundle.task)} of {project['target']} by {named(bundle.estimator)}, "
        f"made {bundle.created[:10]}",
        verdict=verdict,
        tone=tone,
        facts=_facts(bundle),
        sections=sections,
    )


def _verdict(bundle: BundleInfo) -> tuple[str, Tone]:
    if bundle.gate is None:
        return "Not judged by the promotion gate yet", "warn"
    if bundle.gate["passed"]:
        return "Passed its promotion gate", "good"
    return "Refused by its promotion gate: not to be deployed", "bad"


def _facts(bundle: BundleInfo) -> list[Fact]:
    metric = bundle.metric
    found = bundle.metrics.get(metric)
    if found is None:
        mean = bundle.cv.get("mean")
        return [Fact(f"{named(metric)}, cross-validated", number(mean), "not evaluated on held-out rows yet")]
    facts = [
        Fact(
            f"{named(metric)} on held-out rows",
            number(found["value"]),
            f"95 % interval {number(found['low'])} to {number(found['high'])}",
        )
    ]
    if (dummy := bundle.baseline.get(metric)) is not None:
        knows = "middle" if bundle.task == "regression" else "shares"
        facts.append(Fact("Dummy model", number(dummy), f"knows the outcome's {knows}, not the columns"))
    evaluation = bundle.evaluation or {}
    if (beside := evaluation.get("comparison")) and beside["differences"]:
        difference = beside["differences"][metric]
        facts.append(
            Fact(
                f"Against live model {beside['version']}",
                f"{difference['value']:+.4f}",
                f"95 % interval {difference['low']:+.4f} to {difference['high']:+.4f}",
            )
        )
    facts.append(
        Fact("Rows", f"{evaluation.get('rows', 0):,} held out", f"{_train_rows(bundle)} to train on")
    )
    return facts


def _train_rows(bundle: BundleInfo) -> str:
    rows = bundle.provenance.get("train_rows")
    return f"{rows:,}" if isinstance(rows, int) else "an unknown number"


def _what(bundle: BundleInfo, project: Mapping[str, Any]) -> Bullets:
    params = (
        ", ".join(f"{name}\u00a0=\u00a0{_short(value)}" for name, value in bundle.params.items()) or "none"
    )
    lines: list[Text] = [
        ("Predicts ", Code(project["target"]), f" ({bundle.task.replace('_', ' ')})"),
        f"Estimator: {named(bundle.estimator)}; parameters: {params}",
    ]
    if bundle.classes:
        lines.append(("Classes: ", *_listed(bundle.classes)))
    if bundle.positive is not None:
        lines.append(
            ("Positive class: ", Code(bundle.positive), f", from a probability of {bundle.threshold:g}")
        )
    return Bullets(
        [*lines, *_calibrated(bundle), *_taken_over(bundle), *_serving(bundle.provenance.get("scorer"))]
    )


def _calibrated(bundle: BundleInfo) -> list[Text]:
    """What was done to the probabilities."""
    found = bundle.provenance.get("calibration")
    if not found:
        return []
    if found["kind"] == "none":
        return [f"Probabilities are the model's own: calibration was left out, {found['reason']}"]
    return [
        f"Probabilities are calibrated ({found['kind']}): the log loss out of fold went from "
        f"{number(found['log_loss_before'])} to {number(found['log_loss_after'])}"
    ]


def _taken_over(bundle: BundleInfo) -> list[Text]:
    """What came from earlier versions."""
    lines: list[Text] = [
        f"Takes the answers of model {one['version']} ({named(one['estimator'])}) as features; {one['note']}"
        for one in bundle.provenance.get("stack", [])
    ]
    if (start := bundle.provenance.get("warm_start")) is not None:
        of = f"model {start['version']} ({named(start['estimator'])})"
        rows = (
            "all train rows" if start.get("rows") is None else f"the {start['rows']:,} train rows new to it"
        )
        lines.append(
            f"The search tried the settings of {of} first"
            if start["kind"] == "settings"
            else f"Goes on from the trees of {of}, on {rows}"
        )
    return lines


def _listed(names: list[str], most: int = 30) -> list[str | Code]:
    parts: list[str | Code] = []
    for index, name in enumerate(names[:most]):
        parts += [", ", Code(name)] if index else [Code(name)]
    return [*parts, f" and {len(names) - most} more"] if len(names) > most else parts


def _serving(scorer: Mapping[str, Any] | None) -> list[Text]:
    if scorer is None:
        return []
    if scorer["form"] == "compiled":
        single = scorer.get("records_one_by_one", scorer["records"])
        also = f" ({single} of them one by one as well)" if single < scorer["records"] else ""
        apart = scorer["max_abs_difference"]
        said = f"differ from the library's by at most {apart:.1e}" if apart else "are exactly the library's"
        return [f"Served compiled: on {scorer['records']:,} records{also} its answers {said}"]
    if scorer["form"] != "scikit-learn":
        return [f"Served by {scorer['form']}: {scorer['reason']}"]
    return [f"Served by scikit-learn, slowly: there is no compiled scorer, because {scorer['reason']}"]


def _gate(bundle: BundleInfo) -> Section:
    if bundle.gate is None:
        return Section("Promotion gate", [Paragraph("Not judged yet.")])
    checks = bundle.gate["checks"]
    if not checks:
        return Section("Promotion gate", [Paragraph("No gate is set in project.yaml: nothing was asked.")])
    verdict = "Passed." if bundle.gate["passed"] else "Not passed: this model must not be deployed."
    rows: list[list[Text]] = [
        [
            check["name"].replace("_", " "),
            "passed" if check["passed"] else "failed",
            check["message"].removeprefix(f"{check['name']}: "),
        ]
        for check in checks
    ]
    tones: dict[int, Tone] = {place: "bad" for place, check in enumerate(checks) if not check["passed"]}
    return Section(
        "Promotion gate",
        [
            Paragraph(verdict, "plain" if bundle.gate["passed"] else "bad"),
            Table(["Gate", "Result", "Found and needed"], rows, toned=tones),
        ],
    )


def _metrics(bundle: BundleInfo) -> Section:
    blocks: list[Block] = []
    evaluation = bundle.evaluation or {}
    if bundle.metrics:
        beside = evaluation.get("comparison") or {}
        differences = beside.get("differences") or {}
        columns = ["Metric", "Model", "95 % interval", "Dummy model"]
        rows: list[list[Text]] = []
        for name, found in bundle.metrics.items():
            row: list[Text] = [
                named(name),
                number(found["value"]),
                ranged(found),
                number(bundle.baseline.get(name)),
            ]
            if differences:
                row += [number(beside["live"][name]), _signed(differences[name])]
            rows.append(row)
        if differences:
            columns += [f"Live model {beside['version']}", "Difference, paired"]
        caption = f"On {evaluation.get('rows', '?')} held-out rows; intervals by the bootstrap."
        if 0 < (drawn := evaluation.get("resampled_rows", 0)) < evaluation.get("rows", 0):
            caption = f"{caption[:-1]} of {drawn} of them, scaled to all."
        if differences:
            caption += " The difference is this model less the live one, both on the same drawn rows."
        blocks.append(Table(columns, rows, frozenset(range(1, len(columns))), caption=caption))
        if beside.get("reason"):
            blocks.append(
                Paragraph(
                    f"Not compared with the live model {beside['version']}: {beside['reason']}.", "warn"
                )
            )
    if bundle.cv.get("scores"):
        blocks.append(
            Paragraph(
                f"In cross-validation on the train rows ({len(bundle.cv['scores'])} folds): {named(bundle.metric)} "
                f"{number(bundle.cv['mean'])} (standard deviation {number(bundle.cv['std'])})."
            )
        )
    else:
        blocks.append(
            Paragraph(
                "It was trained elsewhere: there is no cross-validation, and what rows it saw is not known."
            )
        )
        if notes := bundle.provenance.get("notes"):
            blocks.append(Bullets(list(map(str, notes))))
    if bundle.candidates:
        candidates: list[list[Text]] = [
            [named(one["name"]), number(one.get("cv_mean")), "chosen" if one.get("chosen") else ""]
            for one in bundle.candidates
        ]
        columns = ["Candidate", f"Cross-validated {named(bundle.metric)}", ""]
        blocks.append(Table(columns, candidates, frozenset({1})))
    return Section("Metrics", blocks)


def _signed(found: Mapping[str, float]) -> str:
    return f"{found['value']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})"


def _data(bundle: BundleInfo, project: Mapping[str, Any]) -> Section:
    held_out = f"{bundle.evaluation['rows']} rows held out" if bundle.evaluation else "not evaluated yet"
    parts: list[str | Code] = [f"{len(project['features'])} features: "]
    for index, (name, kind) in enumerate(project["features"].items()):
        parts += [", " if index else "", Code(name), f" ({kind})"]
    return Section(
        "Data",
        [
            Bullets(
                [
                    f"Dataset: {bundle.provenance.get('dataset', 'not recorded')}",
                    f"{_train_rows(bundle)} train rows; {held_out} ({_SPLITS[project['split']]})",
                    tuple(parts),
                ]
            )
        ],
    )


def _limits(bundle: BundleInfo, project: Mapping[str, Any]) -> Section:
    lines = [
        "The metrics hold for rows like those of the data above; the drift report says when they no longer are.",
        "A category that was not in the training data has no weight of its own; a missing value is imputed or "
        "taken as missing.",
        "The intervals say how much the held-out sample could have differed, not how the world may change.",
    ]
    if project["split"] == "random":
        lines.append("Rows were split one by one: if several rows are of one person, split by group instead.")
    notes = [note for one in bundle.candidates if one.get("chosen") for note in one.get("notes", [])]
    warned = [Paragraph(f"{text[0].upper()}{text[1:]}.", "warn") for text in warnings_of(bundle)]
    return Section("Limits", [*warned, Bullets([*lines, *(f"In training: {note}." for note in notes)])])


def _provenance(bundle: BundleInfo) -> Section:
    rows: list[list[Text]] = []
    for name, value in bundle.provenance.items():
        if value is None or name in ("stack", "warm_start", "calibration", "scorer"):
            continue  # told above, in sentences, or nothing to tell
        if isinstance(value, dict):
            shown = ", ".join(f"{key} {part}" for key, part in value.items())
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        rows.append([name.replace("_", " "), shown])
    for name, digest in bundle.files.items():
        if name.startswith("model."):
            rows.append([(Code(name), ", SHA-256"), Code(digest)])
    return Section("Provenance", [Table(["What", "Value"], rows)])


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
