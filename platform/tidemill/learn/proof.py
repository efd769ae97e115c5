"""The proof that a compiled scorer answers as the pipeline it was made from, before a bundle may hold it.

Here belongs which records are tried and what counts as equal. Making the compiled form is in `learn/compiling.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tidemill.learn.adjusting import threshold_of
from tidemill.learn.compiling import NotCompilable, compile_pipeline
from tidemill.learn.features import TRAIN
from tidemill.learn.training import THREADS
from tidemill.project import CATEGORICAL, NUMERIC, Column, Project
from tidemill.serve.compiled import CompiledModel, Form, read_form
from tidemill.serve.trees import MOST_LISTED

LARGEST_DIFFERENCE = 1e-9
MOST_ROWS = 500
# Rows that are varied one column at a time; of a wide table one, or a proof would outlast the training.
VARIED = 3
WIDE = 40
# Thresholds of trees that are tried, a column and in all.
MOST_THRESHOLDS = 40
MOST_THRESHOLDS_IN_ALL = 400
# Records compared at once: a wide table has many.
LOT = 1000
# Walks down a tree that are made one record at a time; a walk in numpy of a single record costs as much as so many.
MOST_WALKS = 150_000
WALKS_OF_NUMPY = 300
MEAN_LOT = 10_000
# Around them float32 and float64 part ways, or the encoders clip.
EDGES = (0.0, -1.0, 0.1, 16_777_217.0, 1e-46, 1e30, -1e38, 1e38, 1e39)

Record = dict[str, Any]


def compiled_scorer(
    pipeline: Pipeline, project: Project, rows: pd.DataFrame | None
) -> tuple[bytes | None, dict[str, Any]]:
    """The bytes of a proved scorer.npz, or None; and what the bundle's provenance says of it, with the reason."""
    if rows is None or rows.empty:
        return None, {"form": "scikit-learn", "reason": "there were no rows to prove one on"}
    try:
        form = compile_pipeline(pipeline)
    except NotCompilable as error:
        return None, {"form": "scikit-learn", "reason": str(error)}
    if form.document["model"]["kind"] == "linear":
        form.arrays["mean"] = _encoded_mean(pipeline, project, rows)
    # What is proved is what will be read, not what was meant to be written.
    data = form.to_bytes()
    read = read_form(data, project.name)
    model, records = CompiledModel(read, project.name), trial_records(read, project, rows)
    count, single, difference, flips, every = 0, 0, 0.0, 0, _stride(read)
    while lot := list(islice(records, LOT)):
        apart, flipped = compare(pipeline, model, project, lot, every)
        count, difference, flips = count + len(lot), max(difference, apart), flips + flipped
        single += len(range(0, len(lot), every))
    found = {
        "records": count,
        "records_one_by_one": single,
        "max_abs_difference": difference,
        "label_flips": flips,
    }
    if flips or not difference <= LARGEST_DIFFERENCE:
        reason = f"it differed from the pipeline by {difference:.2g} and in {flips} labels"
        return None, {"form": "scikit-learn", "reason": reason, **found}
    return data, {"form": "compiled", **found}


def _stride(form: Form) -> int:
    """Every how many records one is walked by itself: all of a small model, not a multiple of VARIED."""
    if "roots" not in form.arrays:
        return 1
    walks = len(form.arrays["roots"])
    if len(form.arrays["feature"]) > MOST_LISTED:
        walks = max(walks, WALKS_OF_NUMPY)
    expected = MOST_ROWS + VARIED * MOST_THRESHOLDS_IN_ALL * 6
    every = max(1, walks * expected // MOST_WALKS)
    return every + 1 if every > 1 and every % VARIED == 0 else every


def _encoded_mean(pipeline: Pipeline, project: Project, rows: pd.DataFrame) -> NDArray[Any]:
    """Mean of the training rows as the model sees them; explanations of a linear model are differences to it."""
    trained = rows[rows["_split"] == TRAIN] if "_split" in rows.columns else rows
    trained = (trained if len(trained) else rows)[list(project.feature_columns)]
    total: Any = 0.0
    for start in range(0, len(trained), MEAN_LOT):
        total = total + pipeline[:-1].transform(trained.iloc[start : start + MEAN_LOT]).sum(axis=0)
    return np.asarray(total, dtype=np.float64).ravel() / len(trained)


def compare(
    pipeline: Pipeline, model: CompiledModel, project: Project, records: Sequence[Record], every: int = 1
) -> tuple[float, int]:
    """The largest difference and the number of labels that differ: all as a batch, each `every`-th by itself.

    A record by itself is encoded and walked by code of its own. Where not all are walked, the encoding of all is
    compared. Differences of a regression are relative where the answer is larger than 1.
    """
    columns = list(project.feature_columns)
    frame = pd.DataFrame(
        {name: pd.Series([record[name] for record in records], dtype=object) for name in columns}
    )
    with threadpool_limits(limits=THREADS):
        if not project.is_classification:
            truth = np.asarray(pipeline.predict(frame), dtype=np.float64)[:, np.newaxis]
        else:
            truth = np.asarray(pipeline.predict_proba(frame), dtype=np.float64)
    largest, flips = 0.0, 0
    if every > 1:
        rows = np.array([model.row(record) for record in records])
        largest = 0.0 if np.array_equal(rows, model.matrix(records), equal_nan=True) else math.inf
    alone = [model.one(record) for record in records[::every]]
    for answers, wanted in ((alone, truth[::every]), (model.many(records), truth)):
        own = np.array(answers, dtype=np.float64)
        apart = np.abs(own - wanted)
        if not project.is_classification:
            apart = apart / np.maximum(1.0, np.abs(wanted))
        largest = max(largest, float(apart.max()) if np.isfinite(apart).all() else math.inf)
        if project.is_classification:
            threshold = threshold_of(pipeline, project.serving.threshold)
            flips += int((_labels(own, project, threshold) != _labels(wanted, project, threshold)).sum())
    return largest, flips


def _labels(probabilities: Any, project: Project, threshold: float) -> Any:
    if project.task != "binary" or probabilities.shape[1] != 2:
        return probabilities.argmax(axis=1)
    # Either class may be the positive one: both sides of the threshold have to agree.
    return (probabilities >= threshold) @ np.array([1, 2])


def trial_records(form: Form, project: Project, rows: pd.DataFrame) -> Iterator[Record]:
    """Held-out rows (train rows where there are none), some with one column at an edge, one without values."""
    held = rows[rows["_split"] != TRAIN] if "_split" in rows.columns else rows
    chosen = (held if len(held) else rows).head(MOST_ROWS)
    plain = records_of(chosen, project)
    yield from plain
    varied = plain[: VARIED if len(project.feature_columns) <= WIDE else 1]
    thresholds = _thresholds(form)
    # A model of texts alone does not look at the other columns.
    read = {entry["name"] for entry in form.document["columns"]}
    for name, column in project.feature_columns.items():
        if name not in read:
            continue
        seen = [record[name] for record in plain if record[name] is not None]
        for value in [None, *_edges(column, seen, form, name, thresholds)]:
            yield from ({**record, name: value} for record in varied)
    yield dict.fromkeys(project.feature_columns)


def records_of(rows: pd.DataFrame, project: Project) -> list[Record]:
    """Rows of the features table as the checked records that the service would score."""
    columns = {
        name: [_plain(value, column) for value in rows[name].astype(object)]
        for name, column in project.feature_columns.items()
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _plain(value: Any, column: Column) -> Any:
    if value is None or pd.isna(value):
        return None
    if column.type == "integer":
        return int(value)
    if column.type == "float":
        return float(value)
    if column.type == "boolean":
        return bool(value)
    if column.type == "date":
        return date(value.year, value.month, value.day)
    if column.type == "datetime":
        moment = pd.Timestamp(value).to_pydatetime(warn=False)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return str(value)


def _thresholds(form: Form) -> dict[int, list[float]]:
    """Thresholds of the trees by place in the encoded row, evenly thinned."""
    if "feature" not in form.arrays:
        return {}
    feature, threshold = form.arrays["feature"], form.arrays["threshold"]
    found: dict[int, list[float]] = {}
    places = np.unique(feature[feature >= 0]).tolist()
    most = min(MOST_THRESHOLDS, max(1, MOST_THRESHOLDS_IN_ALL // max(1, len(places))))
    for place in places:
        values = np.unique(threshold[feature == place])
        found[place] = values[:: -(-len(values) // most)].tolist()
    return found


def _edges(
    column: Column, seen: list[Any], form: Form, name: str, thresholds: dict[int, list[float]]
) -> list[Any]:
    if column.type in NUMERIC:
        place = next(entry["number"]["at"] for entry in form.document["columns"] if entry["name"] == name)
        numbers = [*EDGES, *([min(seen), max(seen)] if seen else [])]
        for threshold in thresholds.get(place, []):
            single = float(np.float32(threshold))
            near = float(np.nextafter(np.float32(threshold), np.float32(np.inf)))
            above, below = math.nextafter(threshold, math.inf), math.nextafter(threshold, -math.inf)
            numbers += [threshold, above, below, single, near, (single + near) / 2]
        if column.type == "integer":
            return sorted({int(number) for number in numbers if abs(number) < 2**63})
        return numbers
    if column.type == "boolean":
        return [True, False]
    if column.type == "date":
        return [date(1, 1, 1), date(1969, 12, 31), date(2024, 2, 29), date(9999, 12, 31)]
    if column.type == "datetime":
        return [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            datetime(9999, 12, 31, 23, tzinfo=UTC),
        ]
    if column.type in CATEGORICAL:
        known = next(entry["known"] for entry in form.document["columns"] if entry["name"] == name)
        return [*known, "", "(no such value)", "(missing)"]
    return ["", "a", "word word word", "Übung macht den Meister", *(f"{text} {text}" for text in seen[:3])]
