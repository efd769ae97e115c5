"""Rows that may be asked about, where they come from, and what a person is shown of them.

Here belong the tables and logs behind a round of labelling; which of the rows are chosen is `labels/queue.py`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from tidemill.home import Home
from tidemill.labels import ledger
from tidemill.labels.backend import Cell, LabelTask, Suggestion
from tidemill.labels.production import PREFIX, all_rows, row_of
from tidemill.labels.snapshot import GOLD, Snapshot, annotations_frame, label_snapshot
from tidemill.labels.suspects import examine
from tidemill.learn.features import TRAIN, build_features, share_of
from tidemill.learn.scoring import outputs
from tidemill.project import Project
from tidemill.serve.deployment import current
from tidemill.store.state import State
from tidemill.store.tables import TableStore

# Newest predictions that are looked at for rows worth labelling.
MOST_PREDICTIONS = 5_000

Found = list[tuple[str, dict[str, Cell]]]


@dataclass(frozen=True)
class Pool:
    """The rows of a project as they are now: data, labels, and who was asked about what."""

    project: Project
    rows: pd.DataFrame
    snapshot: Snapshot
    asked: dict[str, ledger.Task]
    answered: dict[str, int]

    @cached_property
    def _place(self) -> dict[str, int]:
        return {str(row): index for index, row in enumerate(self.rows["_row"])}

    def fields_of(self, row: str) -> dict[str, Cell]:
        """What a person is shown of a row: the columns in the contract's order, but target and ignored ones."""
        record = self.rows.iloc[self._place[row]]
        return {
            name: plain(record[name])
            for name, column in self.project.columns.items()
            if column.role not in ("target", "ignore") and name in self.rows.columns
        }

    def features_of(self, rows: Sequence[str]) -> pd.DataFrame:
        """The rows with their feature columns, in the order asked for."""
        places = [self._place[row] for row in rows]
        return self.rows.iloc[places][list(self.project.feature_columns)].reset_index(drop=True)

    def labelled(self) -> pd.DataFrame:
        """The labelled rows on the training side, as features are built; empty when there are none."""
        if self.snapshot.labels.empty:
            return pd.DataFrame({"_label": []})
        built = build_features(self.rows, self.snapshot.labels, self.project)
        return built[built["_split"] == TRAIN].reset_index(drop=True)

    def fresh_rows(self) -> list[str]:
        """Rows of the data that have no label and that nobody was asked about."""
        known = set(self.snapshot.labels["_row"]) | set(self.asked)
        return [row for row in self._place if row not in known and not row.startswith(PREFIX)]

    def known_rows(self) -> list[str]:
        """Rows whose label stands in the data and that nobody was asked about."""
        labels = self.snapshot.labels
        own = labels.loc[labels["origin"] == "column", "_row"]
        return [str(row) for row in own if str(row) not in self.asked]

    def suspects(self) -> list[str]:
        """Rows whose label the features speak against, the worst first, that had no second look yet."""
        if self.snapshot.labels.empty:
            return []
        built = build_features(self.rows, self.snapshot.labels, self.project)
        found = examine(built, built["_label"], self.project)
        if not found.is_noisy:
            return []
        seen = {row for row, task in self.asked.items() if task.reason in ("suspect", GOLD)}
        return [str(row) for row in found.suspects["_row"] if str(row) not in seen]


def gather(home: Home, state: State, project: Project) -> Pool:
    """The pool of a project. Raises NotFound when there is no data."""
    store = TableStore(home.tables(project.name))
    raw = store.require("raw")
    rows = all_rows(raw, store.current("production_rows")).to_pandas().drop_duplicates("_row", keep="last")
    answers = annotations_frame(state, project)
    labelled = answers[answers["status"] == "label"].drop_duplicates(["_row", "annotator"])
    counts = {str(row): int(count) for row, count in labelled["_row"].value_counts().items()}
    snapshot = label_snapshot(rows, _with_people(project), raw.version, at=raw.created, annotations=answers)
    asked = {task.row: task for task in ledger.tasks(state, project.name)}
    return Pool(project, rows.reset_index(drop=True), snapshot, asked, _Counts(counts))


class _Counts(dict[str, int]):
    def __missing__(self, key: str) -> int:
        return 0


def judges(row: str, project: Project) -> bool:
    """Whether models are judged by this row once it has a label; only told for a random split."""
    split = project.training.split
    return split.kind == "random" and share_of(row, project.training.seed) < split.test


def predictions(home: Home, pool: Pool, rng: np.random.Generator) -> list[tuple[str, Found]]:
    """Predictions worth labelling, a list for each reason; the least sure first, those of a drift by chance."""
    from tidemill.monitor.report import latest_report
    from tidemill.store.history import recent

    below = pool.project.labels.review_below
    report = latest_report(home, pool.project.name)
    drifted = report is not None and report.verdict == "drift"
    if below is None and not drifted:
        return []
    events = _unseen(recent(home, pool.project.name, "predictions", MOST_PREDICTIONS), pool)
    found: list[tuple[str, Found]] = []
    taken: set[str] = set()
    if below is not None:
        sure = [(_sureness(event), event) for event in events]
        doubtful = [
            each for each in sure if each[0] < below and not judges(row_of(each[1]["id"]), pool.project)
        ]
        unsure = sorted(doubtful, key=lambda each: each[0])
        taken = {event["id"] for _, event in unsure}
        found.append(("low-confidence", [_shown(event) for _, event in unsure]))
    if drifted and report is not None and report.window_from:
        since = datetime.fromisoformat(report.window_from)
        since = since.replace(tzinfo=UTC) if since.tzinfo is None else since
        window = [
            event
            for event in events
            if datetime.fromisoformat(event["at"]) >= since and event["id"] not in taken
        ]
        found.append(("drift", [_shown(window[index]) for index in rng.permutation(len(window))]))
    return found


def waiting(pool: Pool, but: Collection[str]) -> list[LabelTask]:
    """Rows that were asked about and have too few answers, without those in `but`."""
    return [
        LabelTask(row, task.fields, reason=task.reason, annotators=task.annotators)
        for row, task in pool.asked.items()
        if pool.answered[row] < task.annotators and row not in but
    ]


def suggested(home: Home, state: State, pool: Pool, tasks: Sequence[LabelTask]) -> list[LabelTask]:
    """The tasks with what the deployed model says of them; rows that models are judged by go without."""
    from tidemill.learn.bundle import load_model

    live = current(state, pool.project.name)
    if live is None or not tasks:
        return list(tasks)
    model = load_model(home.models(pool.project.name), live.champion)
    names = list(pool.project.feature_columns)
    frame = pd.DataFrame([{name: task.fields.get(name) for name in names} for task in tasks], columns=names)
    said = outputs(model, frame, pool.project)
    made = []
    for index, task in enumerate(tasks):
        if judges(task.row, pool.project):
            made.append(task)
            continue
        label: Any = said.labels[index]
        score = None
        if said.probabilities is not None:
            score = float(said.probabilities[index, said.classes.index(str(label))])
        label = str(label) if pool.project.is_classification else float(label)
        made.append(replace(task, suggestion=Suggestion(label, score, live.champion)))
    return made


def plain(value: Any) -> Cell:
    """A cell as JSON can hold it: missing as None, times in ISO 8601."""
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, pd.Timestamp | datetime | date):
        return value.isoformat()
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, str | int | float | bool) else str(value)


def _with_people(project: Project) -> Project:
    """The project as one in which an empty column is no fault."""
    if project.labels.kind != "column":
        return project
    return project.model_copy(update={"labels": project.labels.model_copy(update={"kind": "built-in"})})


def _unseen(events: Sequence[dict[str, Any]], pool: Pool) -> list[dict[str, Any]]:
    """Predictions of the champion that nobody was asked about, each input once, about no row of the data."""
    before = [task.fields for row, task in pool.asked.items() if row.startswith(PREFIX)]
    inputs = {json.dumps(dict(fields), sort_keys=True) for fields in before}
    rows = set(pool.rows["_row"].astype(str))
    kept = []
    for event in events:
        text = json.dumps(event["input"], sort_keys=True)
        if event["role"] != "champion" or row_of(event["id"]) in pool.asked or text in inputs:
            continue
        if event["entity_id"] in rows:
            continue
        inputs.add(text)
        kept.append(event)
    return kept


def _sureness(event: dict[str, Any]) -> float:
    """The probability of the likeliest class; 1 where the model gives none, as for numbers."""
    given = event["probabilities"]
    return max(float(each) for each in given.values()) if isinstance(given, dict) and given else 1.0


def _shown(event: dict[str, Any]) -> tuple[str, dict[str, Cell]]:
    return row_of(event["id"]), {name: plain(value) for name, value in event["input"].items()}
