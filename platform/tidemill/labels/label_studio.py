"""Label Studio as a source of labels, through its documented REST API.

Here belong the project in Label Studio, tasks pushed and answers pulled. The screen is `labels/label_config.py`;
running a server of our own is `ops/label_studio.py`. Label Studio's own client is not used: it takes seconds to
import, and sends a POST again when the reply was lost, which makes tasks twice.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from tidemill.errors import Conflict, Corrupt, InvalidInput, NotReady
from tidemill.labels.backend import (
    Annotation,
    LabelBackend,
    LabelTask,
    Origin,
    Pull,
    QueueState,
    UnusableAnswer,
)
from tidemill.labels.classes import as_label
from tidemill.labels.label_config import ROW, answers_in, label_config, prediction, task_data
from tidemill.labels.label_studio_hook import Hook, ensure_hook
from tidemill.labels.label_studio_http import Connection
from tidemill.labels.label_studio_people import person_of
from tidemill.labels.label_studio_suggestions import show, suggest
from tidemill.project import Project

SOURCE = "label-studio"
BATCH = 2_000
OVERLAP = timedelta(minutes=2)
TIMEOUT = 60.0
STAMP = re.compile(r"stamp=([0-9a-f]{16})")


class _There(NamedTuple):
    """Our project in Label Studio: its number there, and the stamp that no other project has."""

    id: int
    stamp: str


class LabelStudio(LabelBackend):
    """The tasks and answers of one project on the server at `url`.

    `mark` names our home and project in the description of Label Studio's project, which is found by it and made
    when it is not there, with a stamp of its own: its number may belong to another project on another server.
    `data` is the server's folder of data where it is our own: it keeps every export there. `hook` is where that
    server says that somebody answered.
    """

    source = SOURCE

    def __init__(
        self,
        project: Project,
        classes: Sequence[str] | None,
        *,
        url: str,
        token: str,
        mark: str,
        log: str = "its own log",
        secret: str = "the home's secrets",
        data: Path | None = None,
        hook: Hook | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._project = project
        self._classes = classes
        self._mark = mark
        self._data = data
        self._hook = hook
        self._found: _There | None = None
        self._predictions: dict[int, Any] = {}
        self._server = Connection(url, token, log=log, secret=secret, timeout=timeout)

    def push(self, tasks: Sequence[LabelTask]) -> dict[str, str]:
        """A reply may have been lost before, so what is there already is looked up first, never remembered."""
        project = self._ensure_project(max((task.annotators for task in tasks), default=1))
        there = self._tasks(project)
        known = {row: str(task["id"]) for row, task in there.items()}
        asked = {task.row: task for task in tasks}.values()
        # Killed while it took tasks, the server may have kept them without what was suggested; and a later model
        # may say otherwise than an earlier one.
        suggest(self._server, self._project, project, [task for task in asked if task.row in there], there)
        new = [task for task in asked if task.row not in known]
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            url = f"/api/projects/{project}/import?return_task_ids=true"
            made = self._server.call("POST", url, json=[self._task(task) for task in batch])
            ids = made.get("task_ids", [])
            wanted = sum(task.suggestion is not None for task in batch)
            if len(ids) != len(batch) or made.get("prediction_count") != wanted:
                raise Corrupt(
                    "Label Studio did not take every task",
                    detail=f"{len(batch)} tasks with {wanted} suggestions were sent; it made {len(ids)} with "
                    f"{made.get('prediction_count')}",
                    remedy=f"See {self._server.log}; pushing again sends what is missing.",
                )
            known |= {task.row: str(task_id) for task, task_id in zip(batch, ids, strict=True)}
        show(self._server, project, [task.suggestion.model_version for task in asked if task.suggestion])
        return {task.row: known[task.row] for task in tasks}

    def pull(self, cursor: str = "") -> Pull:
        """The cursor names the project that was read, by its stamp, and the newest change; it does not grow.

        Two minutes are told again: a change may be written after a newer one. A project that somebody deleted is no
        deletion of its answers: that is told, the ledger keeps them, and a new project is read from its start.
        Everything is read when the classes are others: an answer may have become usable, or stopped being so.
        """
        before = json.loads(cursor) if cursor else {}
        found = self._known(before)
        if found is None:
            return Pull(cursor=cursor)
        # Until version 0.1 the cursor held the ids of all answers, which were not unique beyond the server.
        old = [str(each) for each in before.get("ids", ())]
        classes = _digest(self._classes)
        goes_on = before.get("stamp") == found.stamp and before.get("classes") == classes
        at = before["at"] if goes_on else ""
        since, newest = _minus(at, OVERLAP), at
        given, unusable, ids = [], [], []
        for task in self._annotated(found.id):
            row = str(task["data"].get(ROW, ""))
            for raw in task["annotations"]:
                answer_id = f"{found.stamp}/{raw['unique_id']}"
                ids.append(answer_id)
                newest = max(newest, raw["updated_at"])
                if raw["updated_at"] < since:
                    continue
                answer = self._answer(row, raw, answer_id)
                given.append(answer) if isinstance(answer, Annotation) else unusable.append(answer)
        after = {"project": found.id, "stamp": found.stamp, "at": newest, "classes": classes}
        return Pull(given, old, unusable, json.dumps(after), frozenset(ids), f"{found.stamp}/")

    def check(self, cursor: str = "") -> None:
        """Raises what a pull from `cursor` would raise, without reading answers."""
        self._known(json.loads(cursor) if cursor else {})

    def _known(self, before: Mapping[str, Any]) -> _There | None:
        """Our project there, or None before the first. Raises Conflict when it was there and is gone."""
        found = self._find_project()
        if before.get("project") is not None and found is None:
            raise Conflict(
                "The project is gone from Label Studio",
                detail=f"{self._project.name} was project {before['project']} of {self._server.url}; it was "
                "deleted, or another server answers at this address",
                remedy="The labels taken over so far stay. Ask about rows again, which makes a new project; bring "
                "the old server back; or set labels to built-in in project.yaml to go on there.",
            )
        return found

    def state(self) -> QueueState:
        there = self._find_project()
        if there is None:
            return QueueState(0, 0, 0)
        project = there.id
        known = self._server.call("GET", f"/api/projects/{project}")
        by_annotator: dict[str, int] = {}
        finished = 0
        for task in self._annotated(project):
            labels = [
                found
                for raw in task["annotations"]
                if isinstance(found := self._answer(str(task["data"].get(ROW, "")), raw, ""), Annotation)
                and found.label is not None
            ]
            finished += len(labels) >= int(task["meta"].get("annotators", 1))
            for each in labels:
                by_annotator[each.annotator] = by_annotator.get(each.annotator, 0) + 1
        return QueueState(int(known["task_number"]), finished, sum(by_annotator.values()), by_annotator)

    def close(self) -> None:
        self._server.close()

    def page(self) -> str:
        """The path of the page where people label, made when it is not there."""
        return f"/projects/{self._ensure_project(self._project.labels.annotators)}/data"

    def _task(self, task: LabelTask) -> dict[str, Any]:
        made: dict[str, Any] = {
            "data": task_data(self._project, task.row, task.fields),
            "meta": {"reason": task.reason, "annotators": task.annotators},
        }
        if task.suggestion is not None:
            made["predictions"] = [prediction(self._project, task.suggestion)]
        return made

    def _answer(self, row: str, raw: Mapping[str, Any], answer_id: str) -> Annotation | UnusableAnswer:
        annotator = person_of(str((raw.get("completed_by") or {}).get("email") or "unknown"))
        if not row:
            return UnusableAnswer(
                answer_id, row, annotator, "The task is none of ours: it has no row. Delete it."
            )
        label: str | float | None = None
        if not raw["was_cancelled"]:
            found = answers_in(raw["result"])
            if len(found) != 1:
                said = "no answer" if not found else f"{len(found)} answers"
                return UnusableAnswer(
                    answer_id, row, annotator, f"It holds {said}. Open the task, give one and press Update."
                )
            try:
                label = as_label(found[0], self._project, self._classes)
            except InvalidInput as error:
                problem = (
                    f"{error.detail}. Answer anew in Label Studio, or give the class its old name again."
                )
                return UnusableAnswer(answer_id, row, annotator, problem)
        return Annotation(
            answer_id,
            row,
            label,
            annotator,
            raw["created_at"],
            raw["updated_at"],
            raw.get("lead_time"),
            self._origin(label, raw),
        )

    def _origin(self, label: str | float | None, raw: Mapping[str, Any]) -> Origin:
        """What the answer's person was shown may be an earlier model's: the answer names it then."""
        shown, parent = raw.get("prediction") or {}, raw.get("parent_prediction")
        if parent and parent != shown.get("id"):
            if parent not in self._predictions:
                self._predictions[parent] = self._server.call("GET", f"/api/predictions/{parent}")
            shown = self._predictions[parent]
        suggested = answers_in(shown.get("result") or ())
        if label is None or not suggested:
            return "manual"
        return "accepted" if suggested == [label] else "changed"

    def _listen(self, project: int) -> None:
        if self._hook is not None:
            ensure_hook(self._server, project, self._hook)

    def _tasks(self, project: int) -> dict[str, dict[str, Any]]:
        """Row -> task. Of two tasks of one row the first that was answered counts, else the first.

        A slow server goes on with an import that we gave up on, which makes tasks twice: those are removed unless
        somebody answered.
        """
        if not self._server.call("GET", f"/api/projects/{project}")["task_number"]:
            return {}
        kept: dict[str, dict[str, Any]] = {}
        spare: list[int] = []
        for task in sorted(self._all(project), key=lambda each: (not each["annotations"], int(each["id"]))):
            row = task["data"].get(ROW)
            if row is not None and kept.setdefault(str(row), task) is not task and not task["annotations"]:
                spare.append(int(task["id"]))
        if spare:
            chosen = {"selectedItems": {"all": False, "included": spare}}
            params = {"id": "delete_tasks", "project": project}
            self._server.call("POST", "/api/dm/actions", params=params, json=chosen)
        return kept

    def _annotated(self, project: int) -> list[dict[str, Any]]:
        """The tasks that have answers: an export of them takes half as long as a snapshot, but has people's ids."""
        found: list[dict[str, Any]] = self._server.call(
            "GET", f"/api/projects/{project}/export", params={"exportType": "JSON"}
        )
        self._clear("export", f"project-{project}-at-*")
        people = {each["id"]: each for each in self._server.call("GET", "/api/users")}
        for task in found:
            for raw in task["annotations"]:
                raw["completed_by"] = people.get(raw["completed_by"])
        return found

    def _all(self, project: int) -> list[dict[str, Any]]:
        """Every task, without what is known of suggestions but their ids: a snapshot, as listing takes minutes."""
        only_id = {"only_id": True}
        wanted = {"title": "tidemill", "serialization_options": {"drafts": only_id, "predictions": only_id}}
        made = self._server.call("POST", f"/api/projects/{project}/exports", json=wanted)
        where = f"/api/projects/{project}/exports/{made['id']}"
        try:
            if made["status"] != "completed":
                raise NotReady(
                    "Label Studio could not export its tasks",
                    detail=f"project {project} of {self._server.url}: the export is {made['status']}",
                    remedy=f"See {self._server.log}.",
                )
            found: list[dict[str, Any]] = self._server.call(
                "GET", f"{where}/download", params={"exportType": "JSON"}
            )
        finally:
            self._server.call("DELETE", where)
            self._clear("media", f"export/{project}/*.json")
        return found

    def _clear(self, folder: str, pattern: str) -> None:
        """Remove the files of exports, which the server keeps for ever."""
        for file in (self._data / folder).glob(pattern) if self._data is not None else ():
            with suppress(FileNotFoundError):
                file.unlink()

    def _find_project(self) -> _There | None:
        if self._found is None:
            listing = self._server.call("GET", "/api/projects", params={"page_size": 1000})
            mine = [each for each in listing["results"] if self._mark in (each["description"] or "")]
            if mine:
                first = min(mine, key=lambda each: int(each["id"]))
                stamp = STAMP.search(first["description"])
                self._found = _There(int(first["id"]), stamp[1] if stamp else f"project {first['id']}")
        return self._found

    def _ensure_project(self, annotators: int) -> int:
        """Label Studio's project, with the screen as the contract is now."""
        found = self._find_project()
        wanted: dict[str, Any] = {
            "label_config": label_config(self._project, self._classes),
            "maximum_annotations": max(annotators, self._project.labels.annotators),
            "expert_instruction": self._project.labels.instructions,
            "show_instruction": bool(self._project.labels.instructions),
            "show_collab_predictions": True,
        }
        if found is None:
            stamp = secrets.token_hex(8)
            described = {
                # It wants three to fifty characters; a project's name may be one.
                "title": self._project.display_name[:50].ljust(3, "."),
                "description": f"Made by Tidemill; it finds the project by this: {self._mark} stamp={stamp}",
            }
            made = self._server.call("POST", "/api/projects", json=described | wanted)
            self._found = _There(int(made["id"]), stamp)
            self._listen(self._found.id)
            return self._found.id
        self._listen(found.id)
        known = self._server.call("GET", f"/api/projects/{found.id}")
        wanted["maximum_annotations"] = max(wanted["maximum_annotations"], known["maximum_annotations"])
        changes = {name: value for name, value in wanted.items() if known.get(name) != value}
        if changes:
            self._server.call("PATCH", f"/api/projects/{found.id}", json=changes)
        return found.id


def _digest(classes: Sequence[str] | None) -> str:
    return hashlib.sha256(json.dumps(classes).encode()).hexdigest()[:16]


def _minus(moment: str, span: timedelta) -> str:
    """`moment` as Label Studio writes it, earlier by `span`."""
    if not moment:
        return ""
    earlier = datetime.fromisoformat(moment.replace("Z", "+00:00")) - span
    return earlier.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
