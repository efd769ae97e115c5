"""Importing a model: from a file somebody made elsewhere to a version of the project, judged by the same gates.

Here belongs the story: look at the file in a child process, publish it as the next version, evaluate it. It never
becomes the champion by itself: a person deploys it, and the gate is asked as for any other.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tidemill.errors import Conflict, NotReady, TidemillError
from tidemill.home import Home
from tidemill.learn.assess import assess
from tidemill.learn.bundle import write_imported
from tidemill.learn.bundle_info import BundleInfo
from tidemill.learn.features import TRAIN
from tidemill.learn.imports import ledger, sandbox
from tidemill.learn.imports.examine import check_first_bytes
from tidemill.learn.imports.refusal import ModelRefused
from tidemill.learn.imports.spec import Spec
from tidemill.learn.learnable import truth_of
from tidemill.learn.scoring import answers as outputs_of
from tidemill.project import Project
from tidemill.store.state import State
from tidemill.store.tables import TableStore, TableVersion

# Rows the child is asked about at most; the oldest of the train rows are left out first.
MOST_ROWS = 200_000


def import_bytes(
    home: Home,
    state: State,
    project: Project,
    name: str,
    data: bytes,
    *,
    actor: str,
    columns: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    limits: sandbox.Limits | None = None,
) -> BundleInfo:
    """Register the model in `data`, the content of a file called `name`, as the project's next version.

    `columns` and `classes` say what the file does not: their order in the model. Raises ModelRefused with the
    reason, NotReady when a library is missing, Conflict when the project has no features yet. Nothing is published
    then.
    """
    kind = check_first_bytes(name, data)
    table, features = _features(home, project)
    asked = features.iloc[-MOST_ROWS:]
    found = _looked_at(kind, name, data, project, asked, columns, classes, limits or sandbox.Limits())
    spec = Spec.from_json(found["spec"])
    raw = np.frombuffer(base64.b64decode(found["answers"]), dtype=np.float64).reshape(found["shape"])
    provenance = {
        "origin": "imported",
        "file": name,
        "file_sha256": hashlib.sha256(data).hexdigest(),
        "imported_by": actor,
        "dataset": f"raw@{table.parents['raw']}",
        "labels": f"labels@{table.parents['labels']}",
        "features": table.id,
        "features_sha256": table.sha256,
        "checked_in": found["fences"],
        "scorer": found["proof"],
    }
    info = write_imported(
        home.models(project.name),
        project=project,
        spec=spec,
        model=data,
        scorer=base64.b64decode(found["form"]) if found["form"] else None,
        provenance=provenance,
        reference=_reference(asked, raw, spec, project),
    )
    return assess(home, state, project, info.version, features).info


def import_pending(
    home: Home, state: State, project: Project, *, actor: str, settle: float = 0.0
) -> list[dict[str, Any]]:
    """Take every file of the import folder that is `settle` seconds old, and give the record of each.

    A file that fails stops no other. A file stays where it is when trying again can help, such as when a library is
    missing.
    """
    with ledger.taking(home, project.name):
        files = ledger.pending(home, project.name, settle)
        return [_take(home, state, project, file, actor) for file in files]


def _take(home: Home, state: State, project: Project, file: Path, actor: str) -> dict[str, Any]:
    try:
        _, data = ledger.read_pending(file)
    except ModelRefused as error:
        record = ledger.name_refused(home, project.name, file, error)
        ledger.clear_away(file)
        return record
    known = ledger.note(home, project.name, file.name, data, "received")
    try:
        info = import_bytes(
            home,
            state,
            project,
            file.name,
            data,
            actor=known["by"] or actor,
            columns=known["columns"],
            classes=known["classes"],
        )
    except TidemillError as error:
        status = "received" if error.retryable else "refused"
        record = ledger.note(home, project.name, file.name, data, status, problem=ledger.problem_of(error))
        if not error.retryable:
            ledger.clear_away(file)
        return record
    record = ledger.note(home, project.name, file.name, data, "accepted", model_version=info.version)
    ledger.clear_away(file)
    return record


def _features(home: Home, project: Project) -> tuple[TableVersion, pd.DataFrame]:
    table = TableStore(home.tables(project.name)).current("features")
    if table is None:
        raise Conflict(
            "The project has no features yet",
            detail=f"project {project.name}: a model is checked and scored on labelled rows, and there are none",
            remedy=f"Send data, then train once or materialise {project.name}/features; then import the model.",
        )
    return table, table.to_pandas()


def _looked_at(
    kind: str,
    name: str,
    data: bytes,
    project: Project,
    rows: pd.DataFrame,
    columns: Sequence[str] | None,
    classes: Sequence[str] | None,
    limits: sandbox.Limits,
) -> dict[str, Any]:
    labels = sorted({str(label) for label in truth_of(rows, project)}) if project.is_classification else []
    request = {
        "format": kind,
        "model_file": f"model{Path(name).suffix.lower()}",
        "project": project.model_dump(mode="json"),
        "labels": labels,
        "columns": list(columns) if columns else None,
        "classes": list(classes) if classes else None,
    }
    buffer = io.BytesIO()
    rows[list(project.feature_columns)].to_parquet(buffer, index=False)
    answer = sandbox.run(request, {"model": data, "rows.parquet": buffer.getvalue()}, limits)
    if (problem := answer.get("refused")) is not None:
        maker = NotReady if problem.get("retryable") else ModelRefused
        raise maker(problem["title"], detail=problem["detail"], remedy=problem["remedy"], **problem["extra"])
    return answer


def _reference(rows: pd.DataFrame, raw: NDArray[Any], spec: Spec, project: Project) -> pd.DataFrame:
    """Train rows with the model's answers; whether it had seen them before, nobody knows."""
    found = outputs_of(raw, list(spec.classes), project) if spec.classes else None
    scored = rows.assign(
        _score=found.scores if found else raw[:, 0], _prediction=found.labels if found else raw[:, 0]
    )
    train = scored[scored["_split"] == TRAIN]
    kept = [name for name in train.columns if name in ("_row", "_label", "_score", "_prediction")]
    features = [name for name in train.columns if not name.startswith("_")]
    return train[[*kept[:2], *features, *kept[2:]]]
