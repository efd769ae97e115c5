"""The model card: what a model is, how good, and what it is not for, as Markdown.

After Mitchell et al., "Model Cards for Model Reporting" (2019). Only text is made here; the facts come from the
bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.learn.bundle_info import BundleInfo

_SPLITS = {
    "random": "drawn by a hash of each row's key",
    "time": "the newest rows",
    "group": "whole groups, drawn by a hash of the group",
}


def model_card(bundle: BundleInfo, project: Mapping[str, Any]) -> str:
    """The card of `bundle`; `project` has title, description, target, features and split."""
    parts = [
        f"# {project['title']}: model {bundle.version}",
        _what(bundle, project),
        "## Intended use",
        project["description"] or "_The project file gives no description; write one under `description:`._",
        _data(bundle, project),
        _metrics(bundle),
        _gate(bundle),
        _limits(bundle, project),
        _provenance(bundle),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(bundle: BundleInfo, project: Mapping[str, Any]) -> str:
    params = ", ".join(f"{name} = {_short(value)}" for name, value in bundle.params.items()) or "none"
    lines = [
        f"- Predicts `{project['target']}` ({bundle.task.replace('_', ' ')})",
        f"- Estimator: {bundle.estimator.replace('_', ' ')}; parameters: {params}",
        f"- Made: {bundle.created}",
    ]
    if bundle.classes:
        lines.append(f"- Classes: {', '.join(f'`{name}`' for name in bundle.classes)}")
    if bundle.positive is not None:
        lines.append(f"- Positive class: `{bundle.positive}`, from a probability of {bundle.threshold:g}")
    lines += _serving(bundle.provenance.get("scorer"))
    return "\n".join(lines)


def _serving(scorer: Mapping[str, Any] | None) -> list[str]:
    if scorer is None:
        return []
    if scorer["form"] == "compiled":
        return [
            f"- Served compiled: on {scorer['records']} records its answers differ from the library's by at most "
            f"{scorer['max_abs_difference']:.1e}, and no label differs"
        ]
    if scorer["form"] != "scikit-learn":
        return [f"- Served by {scorer['form']}: {scorer['reason']}"]
    return [f"- **Served by scikit-learn, slowly: there is no compiled scorer, because {scorer['reason']}**"]


def _data(bundle: BundleInfo, project: Mapping[str, Any]) -> str:
    held_out = f"{bundle.evaluation['rows']} rows held out" if bundle.evaluation else "not evaluated yet"
    dataset = bundle.provenance.get("dataset", "not recorded")
    return "\n".join(
        [
            "## Data",
            "",
            f"- Dataset: {dataset}",
            f"- {bundle.provenance.get('train_rows', '?')} train rows; {held_out} ({_SPLITS[project['split']]})",
            f"- {len(project['features'])} features: "
            + ", ".join(f"{name} ({kind})" for name, kind in project["features"].items()),
        ]
    )


def _metrics(bundle: BundleInfo) -> str:
    lines = ["## Metrics", ""]
    if bundle.metrics:
        lines += ["On the held-out rows, with 95 % bootstrap intervals:", ""]
        lines += ["| metric | model | interval | dummy model |", "|---|---|---|---|"]
        for name, found in bundle.metrics.items():
            interval = f"{found['low']:.4f} to {found['high']:.4f}"
            dummy = bundle.baseline.get(name)
            shown = f"{dummy:.4f}" if dummy is not None else ""
            lines.append(f"| {name} | {found['value']:.4f} | {interval} | {shown} |")
        lines.append("")
    if not bundle.cv["scores"]:
        lines.append(
            "It was trained elsewhere: there is no cross-validation, and what rows it saw is not known."
        )
        return "\n".join([*lines, *(f"- {note}" for note in bundle.provenance.get("notes", []))])
    folds = len(bundle.cv["scores"])
    lines.append(
        f"In cross-validation on the train rows ({folds} folds): {bundle.metric} "
        f"{bundle.cv['mean']:.4f} (standard deviation {bundle.cv['std']:.4f})."
    )
    lines += ["", "| candidate | cross-validated " + bundle.metric + " | chosen |", "|---|---|---|"]
    for candidate in bundle.candidates:
        chosen = "yes" if candidate["chosen"] else ""
        lines.append(f"| {candidate['name']} | {candidate['cv_mean']:.4f} | {chosen} |")
    return "\n".join(lines)


def _gate(bundle: BundleInfo) -> str:
    if bundle.gate is None:
        return "## Promotion gate\n\nNot judged yet."
    verdict = "Passed." if bundle.gate["passed"] else "Not passed: this model must not be deployed."
    checks = [
        f"- {'passed' if check['passed'] else 'failed'}: {check['message']}"
        for check in bundle.gate["checks"]
    ]
    return "\n".join(["## Promotion gate", "", verdict, *([""] if checks else []), *checks])


def _limits(bundle: BundleInfo, project: Mapping[str, Any]) -> str:
    lines = [
        "## Limits",
        "",
        "- The metrics hold for rows like those of the data above; the drift report says when they no longer are.",
        "- A category that was not in the training data has no weight of its own; a missing value is imputed or "
        "taken as missing.",
        "- The intervals say how much the held-out sample could have differed, not how the world may change.",
    ]
    if bundle.classes:
        calibration = bundle.provenance.get("calibration") or {"kind": "none"}
        lines.append(
            "- Probabilities are not recalibrated after training."
            if calibration["kind"] == "none"
            else f"- Probabilities are recalibrated ({calibration['kind']}), on out-of-fold scores of train rows."
        )
    if project["split"] == "random":
        lines.append(
            "- Rows were split one by one: if several rows are of one person, split by group instead."
        )
    notes = [note for candidate in bundle.candidates if candidate["chosen"] for note in candidate["notes"]]
    return "\n".join([*lines, *(f"- In training: {note}." for note in notes)])


def _provenance(bundle: BundleInfo) -> str:
    lines = ["## Provenance", ""]
    for name, value in bundle.provenance.items():
        if isinstance(value, list):
            value = dict.fromkeys(value, "")
        shown = (
            ", ".join(f"{key} {part}".strip() for key, part in value.items())
            if isinstance(value, dict)
            else value
        )
        lines.append(f"- {name.replace('_', ' ')}: {shown}")
    sha256 = next(
        bundle.files[name] for name in bundle.files if name.startswith("model.") and name != "model.py"
    )
    return "\n".join([*lines, f"- model file: SHA-256 `{sha256}`"])


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
