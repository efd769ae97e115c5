"""Label Studio as a source of labels, through its documented REST API.

Here belong the project in Label Studio, tasks pushed and answers pulled. The screen is `labels/label_config.py`;
running a server of our own is `ops/label_studio.py`. Label Studio's own client is not used: it takes seconds to
import, and sends a POST again when the reply was lost, which makes tasks twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from tidemill.errors import Conflict, Corrupt, InvalidInput, NotReady, Unauthorized
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
from tidemill.project import Project

SOURCE = "label-studio"
BATCH = 2_000
OVERLAP = timedelta(minutes=2)
TIMEOUT = 60.0


class LabelStudio(LabelBackend):
    """The tasks and answers of one project on the server at `url`.

    `mark` names our home and project in the description of Label Studio's project, which is found by it and made
    when it is not there. `data` is the server's folder of data where it is our own: it keeps every export there.
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
        data: Path | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._project = project
        self._classes = classes
        self._url = url.rstrip("/")
        self._mark = mark
        self._log = log
        self._data = data
        self._id: int | None = None
        self._http = httpx.Client(
            base_url=self._url, headers={"Authorization": f"Token {token}"}, timeout=timeout, trust_env=False
        )

    def push(self, tasks: Sequence[LabelTask]) -> dict[str, str]:
        """A reply may have been lost before, so what is there already is looked up first, never remembered."""
        project = self._ensure_project(max((task.annotators for task in tasks), default=1))
        there = self._tasks(project)
        known = {row: str(task["id"]) for row, task in there.items()}
        asked = {task.row: task for task in tasks}.values()
        # Killed while it took tasks, the server may have kept them without what was suggested.
        self._suggest(
            project,
            [task for task in asked if task.row in there and not there[task.row]["predictions"]],
            known,
        )
        new = [task for task in asked if task.row not in known]
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            url = f"/api/projects/{project}/import?return_task_ids=true"
            made = self._call("POST", url, json=[self._task(task) for task in batch])
            ids = made.get("task_ids", [])
            wanted = sum(task.suggestion is not None for task in batch)
            if len(ids) != len(batch) or made.get("prediction_count") != wanted:
                raise Corrupt(
                    "Label Studio did not take every task",
                    detail=f"{len(batch)} tasks with {wanted} suggestions were sent; it made {len(ids)} with "
                    f"{made.get('prediction_count')}",
                    remedy=f"See {self._log}; pushing again sends what is missing.",
                )
            known |= {task.row: str(task_id) for task, task_id in zip(batch, ids, strict=True)}
        return {task.row: known[task.row] for task in tasks}

    def pull(self, cursor: str = "") -> Pull:
        """The cursor holds the newest change and the ids that were seen, so that a deletion is noticed.

        Two minutes are told again: a change may be written after a newer one. A project that somebody deleted is no
        deletion of its answers: that is told, the ledger keeps them, and a new project is read from its start.
        """
        before = json.loads(cursor) if cursor else {"project": None, "at": "", "ids": []}
        project = self._find_project()
        if before["project"] is not None and project is None:
            raise Conflict(
                "The project is gone from Label Studio",
                detail=f"{self._project.name} was project {before['project']} of {self._url}; it was deleted, "
                "or another server answers at this address",
                remedy="The labels taken over so far stay. Ask about rows again, which makes a new project, or set "
                "labels to built-in in project.yaml to go on there.",
            )
        if project != before["project"]:
            before = {"project": project, "at": "", "ids": []}
        if project is None:
            return Pull(cursor=cursor)
        since = _minus(before["at"], OVERLAP)
        given, unusable, ids, newest = [], [], [], before["at"]
        for task in self._annotated(project):
            row = str(task["data"].get(ROW, ""))
            for raw in task["annotations"]:
                ids.append(raw["id"])
                newest = max(newest, raw["updated_at"])
                if raw["updated_at"] < since:
                    continue
                answer = self._answer(row, raw)
                given.append(answer) if isinstance(answer, Annotation) else unusable.append(answer)
        there = set(ids)
        deleted = [str(each) for each in before["ids"] if each not in there]
        after = {"project": project, "at": newest, "ids": sorted(ids)}
        return Pull(given, deleted, unusable, json.dumps(after))

    def state(self) -> QueueState:
        project = self._find_project()
        if project is None:
            return QueueState(0, 0, 0)
        known = self._call("GET", f"/api/projects/{project}")
        by_annotator: dict[str, int] = {}
        finished = 0
        for task in self._annotated(project):
            labels = [
                found
                for raw in task["annotations"]
                if isinstance(found := self._answer(str(task["data"].get(ROW, "")), raw), Annotation)
                and found.label is not None
            ]
            finished += len(labels) >= int(task["meta"].get("annotators", 1))
            for each in labels:
                by_annotator[each.annotator] = by_annotator.get(each.annotator, 0) + 1
        return QueueState(int(known["task_number"]), finished, sum(by_annotator.values()), by_annotator)

    def close(self) -> None:
        self._http.close()

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

    def _answer(self, row: str, raw: Mapping[str, Any]) -> Annotation | UnusableAnswer:
        annotator = str((raw.get("completed_by") or {}).get("email") or "unknown")
        answer_id = str(raw["id"])
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
            _origin(label, raw.get("prediction") or {}),
        )

    def _suggest(self, project: int, tasks: Sequence[LabelTask], known: Mapping[str, str]) -> None:
        """Add suggestions to tasks that are there. One request, since each takes seconds."""
        wanted = [
            {"task": int(known[task.row]), **prediction(self._project, task.suggestion)}
            for task in tasks
            if task.suggestion is not None
        ]
        if not wanted:
            return
        made = self._call("POST", f"/api/projects/{project}/import/predictions", json=wanted)
        if made.get("created") != len(wanted):
            raise Corrupt(
                "Label Studio did not take every suggestion",
                detail=f"{len(wanted)} were sent to project {project}; it made {made.get('created')}",
                remedy=f"See {self._log}; pushing again sends what is missing.",
            )

    def _tasks(self, project: int) -> dict[str, dict[str, Any]]:
        """Row -> task. Of two tasks of one row the first counts."""
        if not self._call("GET", f"/api/projects/{project}")["task_number"]:
            return {}
        found = sorted(self._all(project), key=lambda task: -int(task["id"]))
        return {str(task["data"][ROW]): task for task in found if ROW in task["data"]}

    def _annotated(self, project: int) -> list[dict[str, Any]]:
        """The tasks that have answers: an export of them takes half as long as a snapshot, but has people's ids."""
        found: list[dict[str, Any]] = self._call(
            "GET", f"/api/projects/{project}/export", params={"exportType": "JSON"}
        )
        self._clear("export", f"project-{project}-at-*")
        people = {each["id"]: each for each in self._call("GET", "/api/users")}
        for task in found:
            for raw in task["annotations"]:
                raw["completed_by"] = people.get(raw["completed_by"])
        return found

    def _all(self, project: int) -> list[dict[str, Any]]:
        """Every task, without what is known of suggestions but their ids: a snapshot, as listing takes minutes."""
        only_id = {"only_id": True}
        wanted = {"title": "tidemill", "serialization_options": {"drafts": only_id, "predictions": only_id}}
        made = self._call("POST", f"/api/projects/{project}/exports", json=wanted)
        where = f"/api/projects/{project}/exports/{made['id']}"
        try:
            if made["status"] != "completed":
                raise NotReady(
                    "Label Studio could not export its tasks",
                    detail=f"project {project} of {self._url}: the export is {made['status']}",
                    remedy=f"See {self._log}.",
                )
            found: list[dict[str, Any]] = self._call(
                "GET", f"{where}/download", params={"exportType": "JSON"}
            )
        finally:
            self._call("DELETE", where)
            self._clear("media", f"export/{project}/*.json")
        return found

    def _clear(self, folder: str, pattern: str) -> None:
        """Remove the files of exports, which the server keeps for ever."""
        for file in (self._data / folder).glob(pattern) if self._data is not None else ():
            with suppress(FileNotFoundError):
                file.unlink()

    def _find_project(self) -> int | None:
        if self._id is None:
            listing = self._call("GET", "/api/projects", params={"page_size": 1000})
            mine = [each for each in listing["results"] if self._mark in (each["description"] or "")]
            self._id = min((int(each["id"]) for each in mine), default=None)
        return self._id

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
            described = {
                # It wants three to fifty characters; a project's name may be one.
                "title": self._project.display_name[:50].ljust(3, "."),
                "description": f"Made by Tidemill; it finds the project by this: {self._mark}",
            }
            self._id = found = int(self._call("POST", "/api/projects", json=described | wanted)["id"])
            return found
        known = self._call("GET", f"/api/projects/{found}")
        wanted["maximum_annotations"] = max(wanted["maximum_annotations"], known["maximum_annotations"])
        changes = {name: value for name, value in wanted.items() if known.get(name) != value}
        if changes:
            self._call("PATCH", f"/api/projects/{found}", json=changes)
        return found

    def _call(self, method: str, path: str, **given: Any) -> Any:
        try:
            reply = self._http.request(method, path, **given)
        except httpx.TransportError as error:
            raise NotReady(
                "Label Studio does not answer",
                detail=f"{self._url}: {type(error).__name__}",
                remedy=f"See {self._log} and `./tidemill status`. The labels taken over so far stay.",
            ) from error
        if reply.status_code in (401, 403):
            raise Unauthorized(
                "Label Studio does not know our token",
                detail=f"{self._url} answered {reply.status_code}; another server may have taken its place",
                remedy="Put the token of an account of that server into the home's secrets.",
            )
        if reply.status_code >= 500:
            raise NotReady(
                "Label Studio failed",
                detail=f"{method} {self._url}{path} answered {reply.status_code}",
                remedy=f"See {self._log}.",
            )
        if reply.status_code >= 400:
            raise Conflict(
                "Label Studio refused a request",
                detail=f"{method} {self._url}{path} answered {reply.status_code}: {reply.text[:300]}",
                remedy="A project or task may have been deleted there by hand; try again, then see its log.",
            )
        if reply.status_code == 204:
            return None
        try:
            return reply.json()
        except ValueError:
            raise NotReady(
                "Another program answers in Label Studio's place",
                detail=f"{self._url}{path} did not answer JSON",
                remedy="Check the address of the Label Studio server.",
            ) from None


def _origin(label: str | float | None, shown: Mapping[str, Any]) -> Origin:
    suggested = answers_in(shown.get("result") or ())
    if label is None or not suggested:
        return "manual"
    return "accepted" if suggested == [label] else "changed"


def _minus(moment: str, span: timedelta) -> str:
    """`moment` as Label Studio writes it, earlier by `span`."""
    if not moment:
        return ""
    earlier = datetime.fromisoformat(moment.replace("Z", "+00:00")) - span
    return earlier.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
