"""The label snapshot: every answer as a table, and the one label of each row that follows from it.

Here belong which answers count, and how people's labels and those of the data's column come together. How
several answers become one label is `labels/consolidation.py`; the answers themselves come from `labels/ledger.py`.

    annotations   one row an answer, also of skipped, deleted and unusable ones
    labels        one row a labelled row of the data; training joins its `_row` and `label`
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tidemill.labels import ledger
from tidemill.labels.column import filled_rows, labels_from_column
from tidemill.labels.consolidation import Opinion, Verdict, consolidate
from tidemill.labels.ledger import Answer
from tidemill.project import Project
from tidemill.store.state import State

GOLD = "gold"
SUSPECT = "suspect"
DIGEST = "digest"

_ANNOTATIONS: dict[str, Any] = {
    "_row": "string",
    "label": "string",
    "annotator": "string",
    "created_at": "string",
    "updated_at": "string",
    "lead_seconds": "float64",
    "origin": "string",
    "source": "string",
    "answer_id": "string",
    "revision": "int64",
    "status": "string",
    "problem": "string",
    "reason": "string",
    "wanted": "int64",
}


@dataclass(frozen=True)
class Snapshot:
    """The labels as a frame, and what became of the rows that people were asked about.

    `undecided` have enough answers that contradict each other, `waiting` too few, `strangers` are no rows of the
    data any more.
    """

    labels: pd.DataFrame
    undecided: list[str]
    waiting: list[str]
    strangers: list[str]

    @property
    def in_review(self) -> int:
        """Labels that get a second look, and stand meanwhile."""
        return int(self.labels["in_review"].sum())

    def counts(self, rows: int) -> dict[str, Any]:
        """What a person wants to know of it; `rows` is how many the data has."""
        people = self.labels["origin"] != "column"
        found: dict[str, Any] = {
            "labelled": len(self.labels),
            "by_people": int(people.sum()),
            "unlabelled": max(rows - len(self.labels), 0),
            "undecided": len(self.undecided),
            "waiting": len(self.waiting),
            "in_review": self.in_review,
            "no_longer_in_the_data": len(self.strangers),
        }
        if self.labels["label"].dtype != "float64":
            found["classes"] = self.labels["label"].value_counts().head(20).to_dict()
        return found


def annotations_frame(state: State, project: Project) -> pd.DataFrame:
    """Every answer of a project as it stands, ordered by row, person and source.

    `status` is label, skipped, deleted or unusable; `reason` says why the row was asked about, and `wanted` how
    many people were to answer. `label` is text, or float64 for a regression.
    """
    # Where two back ends asked about one row, the newer round tells.
    tasks = sorted(ledger.tasks(state, project.name), key=lambda task: (task.round, task.pushed_at))
    asked = {task.row: task for task in tasks}
    answers = ledger.answers(state, project.name)
    rows = []
    for each in sorted(answers, key=lambda each: (each.row, each.annotator, each.source, each.id)):
        task = asked.get(each.row)
        rows.append(
            {
                "_row": each.row,
                "label": each.label,
                "annotator": each.annotator,
                "created_at": each.created_at,
                "updated_at": each.updated_at,
                "lead_seconds": each.lead_seconds,
                "origin": each.origin,
                "source": each.source,
                "answer_id": each.id,
                "revision": each.revision,
                "status": _status(each),
                "problem": each.problem,
                "reason": task.reason if task else None,
                "wanted": task.annotators if task else project.labels.annotators,
            }
        )
    types = _ANNOTATIONS | ({} if project.is_classification else {"label": "float64"})
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def label_snapshot(
    raw: pd.DataFrame, project: Project, raw_version: int, *, at: str, annotations: pd.DataFrame | None = None
) -> Snapshot:
    """The label of each labelled row of `raw` (all rows that features may be made of).

    A filled target is a label. People's answers are one when as many as were wanted have answered and they decide;
    they win over the column, because a row that has a label is only asked about when that is in doubt. Answers
    about gold rows check the people and change no label. A label of people's that became suspect stands until
    its second look is over, marked `in_review`, its confidence multiplied by the share of answers that are there.

    Columns: `_row`, `label`, `annotator` (several joined by ", "), `labelled_at`, `confidence`, `answers`,
    `origin` (manual, accepted, changed, column or mixed), `lead_seconds` (median), `raw_version`,
    `consolidation`, `in_review`; for a regression `spread` besides. Raises InvalidInput when the labels are the
    column's alone and there are none.
    """
    read = labels_from_column if project.labels.kind == "column" else filled_rows
    column = read(raw, project, raw_version, at=at)
    column = column.assign(
        confidence=np.nan,
        answers=1,
        origin="column",
        lead_seconds=np.nan,
        consolidation="column",
        in_review=False,
        spread=np.nan,
    )
    usable = _usable(annotations)
    known, filled = set(raw["_row"].astype(str)), set(column["_row"].astype(str))
    verdicts = _verdicts(usable, column, project)
    decided: list[dict[str, Any]] = []
    undecided, waiting, strangers = [], [], []
    for row, given in usable[~_is_gold(usable)].groupby("_row", sort=False):
        name = str(row)
        verdict = verdicts[name]
        if name not in known:
            strangers.append(name)
        elif len(given) < given["wanted"].iloc[0] and not (
            given["reason"].iloc[0] == SUSPECT and verdict.label is not None and name not in filled
        ):
            waiting.append(name)
        elif verdict.label is None:
            undecided.append(name)
        else:
            decided.append(_entry(name, given, verdict, project.consolidation, raw_version))
    people = pd.DataFrame(decided, columns=list(column.columns))
    kept = column[~column["_row"].isin(people["_row"])]
    labels = pd.concat([frame for frame in (kept, people) if len(frame)] or [column], ignore_index=True)
    return Snapshot(_shaped(labels, project), undecided, waiting, strangers)


def digest_of(frame: pd.DataFrame) -> str:
    """A hash of a frame's values: equal rows in equal order have equal hashes."""
    shape = f"{list(frame.columns)}{[str(kind) for kind in frame.dtypes]}{len(frame)}"
    hashed = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    return hashlib.sha256(shape.encode() + hashed.tobytes()).hexdigest()


def gold_labels(column: pd.DataFrame, rows: Sequence[str]) -> dict[str, str | float]:
    """The labels that the data's column gives for some rows."""
    found = column[column["_row"].isin(set(rows))]
    return dict(zip(found["_row"].astype(str), found["label"], strict=True))


def _status(answer: Answer) -> str:
    if answer.deleted_at is not None:
        return "deleted"
    if answer.problem is not None:
        return "unusable"
    return "skipped" if answer.label is None else "label"


def _usable(annotations: pd.DataFrame | None) -> pd.DataFrame:
    """The answers that are labels: of each person the last about a row, from whatever back end."""
    if annotations is None:
        annotations = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _ANNOTATIONS.items()})
    live = annotations[annotations["status"] == "label"].sort_values("updated_at", kind="stable")
    return live.drop_duplicates(["_row", "annotator"], keep="last").sort_values(
        ["_row", "annotator"], kind="stable"
    )


def _is_gold(usable: pd.DataFrame) -> pd.Series[bool]:
    return usable["reason"].fillna("").eq(GOLD).astype(bool)


def _verdicts(usable: pd.DataFrame, column: pd.DataFrame, project: Project) -> dict[str, Verdict]:
    triples = zip(usable["_row"], usable["annotator"], usable["label"], strict=True)
    opinions = [Opinion(str(row), str(who), label) for row, who, label in triples]
    gold = usable.loc[_is_gold(usable), "_row"].astype(str).unique()
    known: Mapping[str, Any] = gold_labels(column, list(gold)) if project.is_classification else {}
    return consolidate(opinions, project.consolidation, known)


def _entry(row: str, given: pd.DataFrame, verdict: Verdict, how: str, raw_version: int) -> dict[str, Any]:
    origins, seconds = given["origin"].unique(), given["lead_seconds"].dropna()
    share = min(len(given) / int(given["wanted"].iloc[0]), 1.0)
    return {
        "_row": row,
        "label": verdict.label,
        "annotator": ", ".join(given["annotator"]),
        "labelled_at": given["updated_at"].max(),
        "raw_version": raw_version,
        "confidence": None if verdict.confidence is None else verdict.confidence * share,
        "answers": verdict.answers,
        "origin": origins[0] if len(origins) == 1 else "mixed",
        "lead_seconds": seconds.median() if len(seconds) else np.nan,
        "consolidation": how,
        "in_review": share < 1.0,
        "spread": verdict.spread,
    }


def _shaped(labels: pd.DataFrame, project: Project) -> pd.DataFrame:
    """The columns in their order and types, whatever the rows are."""
    types: dict[str, Any] = {
        "_row": "string",
        "label": "string" if project.is_classification else "float64",
        "annotator": "string",
        "labelled_at": "string",
        "confidence": "float64",
        "answers": "int64",
        "origin": "string",
        "lead_seconds": "float64",
        "raw_version": "int64",
        "consolidation": "string",
        "in_review": "bool",
    }
    if not project.is_classification:
        types["spread"] = "float64"
    return labels[list(types)].astype(types)
