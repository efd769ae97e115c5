"""The child process that looks inside one model file, loads it and asks it about the project's rows.

Here belongs the order: fence, look, load, fit to the contract, answer. It reads the request on standard input, the
files `model` and `rows.parquet` in its working folder, and writes one JSON document. Run by `sandbox.run` alone.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

from tidemill.errors import NotReady
from tidemill.learn.imports.refusal import ModelRefused, mismatch, refused
from tidemill.learn.imports.sandbox import Limits, fence
from tidemill.learn.imports.skops_file import check_archive

# Records that are asked about beside the project's rows: with gaps, and with values far out.
EDGE_ROWS = 20
LARGEST_DIFFERENCE = 1e-6


def main() -> int:
    request = json.load(sys.stdin)
    # What libraries print must not get into the answer.
    answer_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    data = Path("model").read_bytes()
    fences = fence(Limits(**request["limits"]))
    try:
        document = look(request, data) | {"fences": fences}
    except ModelRefused as error:
        document = {"refused": error.to_json()}
    except NotReady as error:  # a library that is not installed
        why = {"title": error.title, "detail": error.detail, "remedy": error.remedy, "extra": {}}
        document = {"refused": {**why, "retryable": True}}
    except MemoryError:
        document = {"refused": refused("memory", "looking at it took more memory than is allowed").to_json()}
    answer_to.write(json.dumps(document))
    answer_to.close()
    return 0


def look(request: dict[str, Any], data: bytes) -> dict[str, Any]:
    """The spec of the model, its answers on the rows, and its compiled form if it has one. Raises ModelRefused."""
    if request["format"] == "skops":
        check_archive(data)  # before anything heavy is imported
    import numpy as np
    import pandas as pd

    from tidemill.learn.imports import inspect
    from tidemill.learn.imports.runners import open_runner
    from tidemill.project import Project

    project = Project.model_validate(request["project"])
    found = inspect.inspect(request["format"], data)
    spec = inspect.fit(found, request, project)
    try:
        runner = open_runner(data, spec)
        rows = pd.read_parquet("rows.parquet")
        answers = runner.answers({name: rows[name].to_numpy(dtype=object) for name in spec.columns})
        inspect.check_answers(answers, len(rows), spec)
    except (ModelRefused, NotReady, MemoryError):
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        if "alloc" in said.lower() or "memory" in said.lower():
            raise refused("memory", f"it needs more memory than is allowed: {said:.200}") from error
        raise mismatch(
            f"it does not answer about the project's rows: {said:.300}",
            "Import a model that takes the contract's columns with their types, gaps included.",
        ) from error
    edges = _edges(rows, spec.columns)
    if not _answers_gaps(runner, edges):
        spec.notes.append("the model cannot answer about gaps: records with missing values are refused")
    form, proof = _compiled(data, spec, project, runner, rows, edges)
    array = np.ascontiguousarray(answers, dtype=np.float64)
    return {
        "spec": spec.to_json(),
        "answers": base64.b64encode(array.tobytes()).decode(),
        "shape": array.shape,
        "form": base64.b64encode(form).decode() if form is not None else None,
        "proof": proof,
    }


def _answers_gaps(runner: Any, edges: dict[str, list[Any]]) -> bool:
    import numpy as np

    try:
        return bool(np.isfinite(runner.answers(edges)).all())
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - libraries raise what they like for values they do not take
        return False


def _edges(rows: Any, columns: list[str]) -> dict[str, list[Any]]:
    """EDGE_ROWS records out of `rows`, each with a third of its values missing."""
    return {
        name: [
            None if (row + place) % 3 == 0 else _plain(value)
            for row, value in enumerate((list(rows[name]) * EDGE_ROWS)[:EDGE_ROWS])
        ]
        for place, name in enumerate(columns)
    }


def _plain(value: Any) -> Any:
    import pandas as pd

    return None if pd.isna(value) else value


def _compiled(
    data: bytes, spec: Any, project: Any, runner: Any, rows: Any, edges: dict[str, list[Any]]
) -> tuple[bytes | None, dict[str, Any]]:
    """The scorer.npz of a booster whose trees can be walked by ourselves, and what the proof found."""
    import numpy as np

    from tidemill.learn.compiling import NotCompilable
    from tidemill.learn.imports.booster_trees import compile_booster
    from tidemill.serve.compiled import CompiledModel, read_form

    own = {"onnx": "onnxruntime", "skops": "scikit-learn"}.get(spec.format, spec.format)
    if spec.format not in ("lightgbm", "xgboost"):
        return None, {"form": own, "reason": f"a model of {spec.format} is run by {own}"}
    try:
        form = compile_booster(runner.as_json() if spec.format == "xgboost" else data, spec).to_bytes()
        model = CompiledModel(read_form(form, project.name), project.name)
    except NotCompilable as error:
        return None, {"form": own, "reason": str(error)}
    columns = {
        name: [*(_plain(value) for value in rows[name].to_numpy(dtype=object)), *edges[name]]
        for name in spec.columns
    }
    records = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    truth = runner.answers(columns)
    if spec.classes:
        scale, flips = 1.0, "label_flips"
    else:
        scale, flips = np.maximum(1.0, np.abs(truth)), "label_flips"
    many = np.array(model.many(records))
    some = np.array([model.one(record) for record in records[-200:]])
    apart = float(max((np.abs(many - truth) / scale).max(), (np.abs(some - truth[-200:])).max()))
    flipped = int((many.argmax(axis=1) != truth.argmax(axis=1)).sum()) if spec.classes else 0
    proof = {"records": len(records), "max_abs_difference": apart, flips: flipped}
    if flipped or not apart <= LARGEST_DIFFERENCE:
        return None, {
            "form": own,
            "reason": f"compiled it differed by {apart:.2g}, in {flipped} labels",
            **proof,
        }
    return form, {"form": "compiled", **proof}


if __name__ == "__main__":
    sys.exit(main())
