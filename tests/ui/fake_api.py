"""A small API of the real shapes with made-up data, over real HTTP, for the dashboard's tests.

It holds state: what is sent, started, deployed or acknowledged is there afterwards. `fail` makes every answer a
problem, to see what the pages say then.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "tm_test_key"
AT = "2026-11-23T10:{:02d}:00.000+00:00"
COLUMNS = [
    ("patient_id", "string", "id", None, None, None),
    ("mean_radius", "float", "feature", 6.98, 28.11, None),
    ("mean_texture", "float", "feature", 9.71, 39.28, None),
    ("worst_area", "float", "feature", 185.2, 4254.0, None),
    ("visits", "integer", "feature", 1, 14, None),
    ("scanner", "category", "feature", None, None, ["A1", "A2", "B1"]),
    ("contrast", "boolean", "feature", None, None, None),
    ("examined_on", "date", "feature", None, None, None),
    ("diagnosis", "category", "target", None, None, ["benign", "malignant"]),
]


class Problem(Exception):
    def __init__(self, status: int, title: str, detail: str = "", remedy: str = "", **extra: Any) -> None:
        super().__init__(title)
        self.status = status
        self.document = {
            "type": "urn:tidemill:problem:test",
            "title": title,
            "status": status,
            "detail": detail,
            "remedy": remedy,
            "request_id": "req-1",
            **extra,
        }


class FakeApi:
    """The state of one made-up installation; `empty()` and `filled()` make the two usual ones."""

    def __init__(self) -> None:
        self.projects: dict[str, dict[str, Any]] = {}
        self.files: list[dict[str, Any]] = []
        self.sources: list[dict[str, Any]] = [inbox_source()]
        self.tables: list[dict[str, Any]] = []
        self.trainings: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.models: list[dict[str, Any]] = []
        self.comparison: dict[str, Any] | None = None
        self.deployment: dict[str, Any] = {
            "champion": None,
            "previous": None,
            "challenger": None,
            "revision": 0,
            "changed_at": None,
            "history": [],
        }
        self.predictions: list[dict[str, Any]] = []
        self.batches: dict[str, dict[str, Any]] = {}
        self.explains = True
        self.truths: list[dict[str, Any]] = []
        self.alerts: list[dict[str, Any]] = []
        self.report: dict[str, Any] | None = None
        self.quality: dict[str, Any] = {"rows": 0, "matched": 0, "unmatched": 0, "metrics": {}}
        self.next_upload: dict[str, Any] = {"status": "accepted", "rows": 3, "accepted": 3, "rejected": 0}
        self.labelling: dict[str, Any] = labelling("built-in")
        self.waiting: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.fail: Problem | None = None
        self.fail_at: dict[str, Problem] = {}
        self.seen: list[tuple[str, str]] = []

    @classmethod
    def empty(cls) -> FakeApi:
        """One project without any data."""
        api = cls()
        api.projects["breast_cancer"] = project("breast_cancer", "Breast cancer")
        return api

    @classmethod
    def filled(cls) -> FakeApi:
        """The loop gone round once, with drift found."""
        api = cls.empty()
        api.projects["breast_cancer"] |= {
            "rows": 369,
            "dataset_version": 2,
            "champion": 2,
            "predictions": 200,
            "open_alerts": 1,
            "next_step": {"action": "look_at_alerts", "text": "One alert is open: the inputs have drifted."},
        }
        api.projects["wine"] = project("wine", "Wine cultivars", task="multiclass")
        api.files = [refused_file(), partly_file()]
        api.tables = [table("raw", 369), table("labels", 369), table("features", 369)]
        api.trainings = [training("t2", 2), failed_training()]
        api.models = [model(2, 0.991, champion=True), model(1, 0.962, champion=False)]
        api.deployment = deployment()
        api.predictions = [prediction(index) for index in range(5)]
        api.alerts = [alert()]
        api.waiting = [label_task("P7", 0.54), label_task("P8", None)]
        api.labelling |= {"rows": 369, "labelled_rows": 300, "tasks": 2, "rounds": [LABEL_ROUND]}
        api.report = drift_report()
        api.quality = {
            "rows": 200,
            "matched": 100,
            "unmatched": 100,
            "metrics": {"roc_auc": ends(0.95, 0.03), "accuracy": ends(0.8, 0.05)},
        }
        return api

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        """Status and document (text for CSV). Raises Problem."""
        self.seen.append((method, path))
        if path == "/healthz":
            return 200, {"service": "tidemill", "status": "ok", "home_id": "test", "version": "0.1.0"}
        if self.fail is not None:
            raise self.fail
        if path == "/readyz":
            return 200, {"status": "ready", "checks": {"state": "ok", "store": "ok", "dagster": "ok"}}
        parts = path.removeprefix("/v1/projects").strip("/").split("/")
        if parts == [""]:
            return 200, {"projects": list(self.projects.values())}
        name, rest = parts[0], parts[1:]
        if name not in self.projects:
            raise Problem(404, "There is no such project", repr(name), "Look at the list of projects.")
        if rest and rest[0] in self.fail_at:
            raise self.fail_at[rest[0]]
        if not rest:
            return 200, self.projects[name] | detail()
        handler = getattr(self, f"_{method.lower()}_{rest[0].replace('-', '_')}")
        found: tuple[int, Any] = handler(rest[1:], query, body)
        return found

    def _post_files(self, _rest: list[str], query: dict[str, str], body: bytes) -> tuple[int, Any]:
        record = file_record(f"f{len(self.files) + 1}", query["name"], bytes=len(body), **self.next_upload)
        self.files.insert(0, record)
        return 202, record | {"status": "received"}

    def _get_files(self, rest: list[str], _query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        if not rest:
            return 200, {"files": self.files}
        if rest[-1] == "rejects":
            return 200, "file,line,column,value,reason\nhospital_a.csv,4,visits,many,not a whole number\n"
        if rest[-1] == "rejected-rows":
            return 200, "_file,_line,_reason,visits\nf1-hospital_a.csv,4,visits: not a whole number,many\n"
        return 200, next(record for record in self.files if record["id"] == rest[0])

    def _get_sources(self, _rest: list[str], _query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        return 200, {"sources": self.sources}

    def _get_tables(self, rest: list[str], _query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        if not rest:
            return 200, {"tables": self.tables}
        if not any(found["name"] == rest[0] for found in self.tables):
            raise Problem(404, "There is no such table", rest[0], "Send a file first.")
        if rest[-1] == "profile":
            return 200, {"profile": profile()}
        if rest[-1] == "versions":
            return 200, {"table": rest[0], "versions": versions()}
        if rest[-1] == "diff":
            return 200, {"table": rest[0], **DIFF}
        names = [column[0] for column in COLUMNS]
        rows = [["P1", 14.2, 20.1, 680.5, 3, "A1", True, "2026-03-01", "benign"]] * 5
        return 200, {"table": rest[0], "version": 2, "columns": names, "rows": rows}

    def _get_labels(self, rest: list[str], query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        if not rest:
            names = sorted({each["annotator"] for each in self.answers})
            by_annotator = {name: sum(each["annotator"] == name for each in self.answers) for name in names}
            return 200, self.labelling | {"answers": len(self.answers), "by_annotator": by_annotator}
        if rest[0] == "next":
            done = {each["row"] for each in self.answers if each["annotator"] == query["annotator"]}
            left = [task for task in self.waiting if task["row"] not in done]
            return 200, {"task": left[0] if left else None, "open": len(left), "tasks": len(self.waiting)}
        if rest[0] == "agreement":
            return 200, {"agreement": [AGREEMENT]}
        return 200, {"annotators": [annotator_report(name) for name in ("ada", "bob")]}

    def _post_label_studio(self, rest: list[str], _query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        assert rest == ["link"]
        return 200, {"url": "http://127.0.0.1:8700/v1/label-studio/open?ticket=t1", "seconds": 60}

    def _post_labels(self, rest: list[str], _query: dict[str, str], body: bytes) -> tuple[int, Any]:
        sent = json.loads(body)
        if rest[0] == "rounds":
            self.waiting += [label_task(f"P{index}", 0.6) for index in range(10, 10 + sent["budget"])]
            self.labelling["tasks"] += sent["budget"]
            return 201, {"round": 2, "tasks": sent["budget"], "reasons": {}, "remarks": ["No model yet."]}
        if rest[0] == "undo":
            own = [each for each in self.answers if each["annotator"] == sent["annotator"]]
            if own:
                self.answers.remove(own[-1])
            return 200, {"undone": own[-1] if own else None}
        self.answers.append(sent)
        return 200, sent | {
            "id": "1",
            "created_at": AT.format(1),
            "updated_at": AT.format(1),
            "origin": "manual",
        }

    def _get_trainings(self, rest: list[str], _query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        if not rest:
            return 200, {"trainings": self.trainings}
        return 200, next(found for found in self.trainings if found["id"] == rest[0])

    def _post_trainings(self, rest: list[str], _query: dict[str, str], body: bytes) -> tuple[int, Any]:
        if rest[1:] == ["cancel"]:
            ended = next(found for found in self.trainings if found["id"] == rest[0])
            ended |= {"status": "canceled", "error": "Cancelled by owner.", "ended_at": AT.format(17)}
            return 202, ended
        asked = {"trigger": "retry", "retry_of": rest[0]} if rest else json.loads(body)
        started = training("t9", None, status="running") | {"ended_at": None} | asked
        started["steps"][-1] |= {"status": "running", "ended_at": None}
        started["progress"] = {"done": 19, "total": 57, "best_score": 0.994, "name": "random_forest"}
        self.trainings.insert(0, started)
        return 202, {name: started[name] for name in ("id", "status", "url", "dagster_url")}

    def _get_runs(self, rest: list[str], _query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        if rest:
            return 200, next(run for run in self.runs if run["id"] == rest[0])
        return 200, {"runs": self.runs}

    def _post_drift(self, _rest: list[str], _query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        run = training("m1", None, status="queued") | {"job": "monitoring", "steps": [], "ended_at": None}
        self.runs.insert(0, run)
        return 202, {name: run[name] for name in ("id", "status", "url", "dagster_url")}

    def _get_models(self, rest: list[str], _query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        if not rest:
            return 200, {"models": self.models, "champion": self.deployment["champion"]}
        found = next(model for model in self.models if model["version"] == int(rest[0]))
        if rest[1:] == ["card"]:
            return 200, f"<!doctype html><title>Model {found['version']}</title><h1>Breast cancer</h1>"
        return 200, found | model_detail(found)

    def _post_models(self, rest: list[str], _query: dict[str, str], body: bytes) -> tuple[int, Any]:
        sent = json.loads(body)
        if sent["expected_revision"] != self.deployment["revision"]:
            raise Problem(409, "The deployment changed meanwhile", "revision", "Look again, then decide.")
        model = next(found for found in self.models if found["version"] == int(rest[0]))
        if not model["gate"]["passed"] and not sent["despite_gate"]:
            raise Problem(409, "The model has not passed its gate", "roc_auc", "Deploy it despite its gate.")
        if rest[1] in ("shadow", "canary"):
            challenger = CHALLENGER | {
                "version": int(rest[0]),
                "stage": rest[1],
                "percent": sent.get("percent"),
            }
            return 200, self._try(rest[1], challenger, sent["reason"])
        return 200, self._deploy("deploy", int(rest[0]), sent["reason"])

    def _post_deployment(self, rest: list[str], _query: dict[str, str], body: bytes) -> tuple[int, Any]:
        its = self.deployment["challenger"]
        after = {"withdraw": None, "pause": its | {"paused": True}, "resume": its | {"paused": False}}[
            rest[0]
        ]
        return 200, self._try(rest[0], after, json.loads(body)["reason"])

    def _try(self, action: str, challenger: dict[str, Any] | None, reason: str) -> dict[str, Any]:
        event = change(self.deployment["revision"] + 1, action, (challenger or CHALLENGER)["version"], reason)
        self.deployment = self.deployment | {
            "challenger": challenger,
            "revision": event["revision"],
            "history": [event, *self.deployment["history"]],
        }
        return self.deployment

    def _post_rollback(self, _rest: list[str], _query: dict[str, str], body: bytes) -> tuple[int, Any]:
        return 200, self._deploy("rollback", self.deployment["previous"], json.loads(body)["reason"])

    def _deploy(self, action: str, version: int, reason: str) -> dict[str, Any]:
        before = self.deployment
        event = change(before["revision"] + 1, action, version, reason)
        self.deployment = {
            "champion": version,
            "previous": before["champion"],
            "challenger": None,
            "revision": event["revision"],
            "changed_at": event["at"],
            "history": [event, *before["history"]],
        }
        for found in self.models:
            found["champion"] = found["version"] == version
        return self.deployment

    def _get_deployment(self, rest: list[str], _query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        if rest == ["comparison"]:
            if self.comparison is None:
                raise Problem(404, "Nothing has been compared", "nothing", "Put a model into shadow.")
            return 200, self.comparison
        return 200, self.deployment

    def _post_predictions(self, _rest: list[str], query: dict[str, str], body: bytes) -> tuple[int, Any]:
        sent = json.loads(body)
        is_asked = query.get("explain") == "true"
        if is_asked and not self.explains:
            raise Problem(
                409,
                "Explanations are not available for this model",
                type="urn:tidemill:problem:not-explainable",
            )
        many = sent.get("records") if isinstance(sent, dict) else None
        records = many if many is not None else [sent]
        faults = [
            {
                "record": index,
                "field": "visits",
                "message": "a whole number is needed",
                "found": record["visits"],
            }
            for index, record in enumerate(records)
            if isinstance(record.get("visits"), str)
        ]
        if faults:
            raise Problem(422, "Records break the contract", "1 fault", "Mend the fields.", faults=faults)
        made = [prediction(len(self.predictions) + index, record) for index, record in enumerate(records)]
        self.predictions = [*reversed(made), *self.predictions]
        if is_asked:
            made = [one | {"explanation": EXPLANATION} for one in made]
        return 200, made[0] if many is None else {"predictions": made}

    def _get_predictions(self, _rest: list[str], query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        return 200, {"predictions": self.predictions[: int(query.get("limit", 50))]}

    def _post_batch_predictions(
        self, _rest: list[str], query: dict[str, str], _body: bytes
    ) -> tuple[int, Any]:
        identity = f"b{len(self.batches) + 1}"
        self.batches[identity] = {
            "id": identity,
            "name": query["name"],
            "format": query["format"],
            "log": query["log"] == "true",
            "status": "queued",
            "rows": 0,
            "errors": 0,
            "model_version": int(query["version"]),
            "problem": None,
            "created_at": AT.format(11),
            "ended_at": None,
            "url": "",
            "result_url": None,
        }
        return 202, self.batches[identity]

    def _get_batch_predictions(
        self, rest: list[str], _query: dict[str, str], _body: bytes
    ) -> tuple[int, Any]:
        if rest[0] not in self.batches:
            raise Problem(404, "There is no such batch", rest[0])
        return 200, "_line,_prediction\n" if rest[1:] else self.batches[rest[0]]

    def _post_ground_truth(self, _rest: list[str], _query: dict[str, str], body: bytes) -> tuple[int, Any]:
        self.truths.append(json.loads(body))
        return 200, {"accepted": 1, "matched": 1, "unmatched": 0}

    def _get_quality(self, _rest: list[str], _query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        return 200, self.quality

    def _get_drift(self, _rest: list[str], _query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        return 200, {"report": self.report}

    def _get_alerts(self, _rest: list[str], _query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        return 200, {"alerts": self.alerts}

    def _post_alerts(self, rest: list[str], _query: dict[str, str], _body: bytes) -> tuple[int, Any]:
        found = next(alert for alert in self.alerts if alert["id"] == int(rest[0]))
        found["state"] = "acknowledged"
        return 200, found


@contextmanager
def served(api: FakeApi) -> Iterator[str]:
    """Listen on a free port of 127.0.0.1; gives the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True

        def do_GET(self) -> None:
            self._do("GET")

        def do_POST(self) -> None:
            self._do("POST")

        def _do(self, method: str) -> None:
            asked = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(asked.query).items()}
            body = self._body()
            try:
                if asked.path.startswith("/v1") and self.headers.get("Authorization") != f"Bearer {KEY}":
                    raise Problem(401, "The key is not known", "", "Use a key that `tidemill up` printed.")
                status, document = api.answer(method, asked.path, query, body)
            except Problem as problem:
                status, document = problem.status, problem.document
            is_text = isinstance(document, str)
            content = document.encode() if is_text else json.dumps(document).encode()
            self.send_response(status)
            self.send_header(
                "Content-Type",
                ("text/html" if document.startswith("<!") else "text/csv") if is_text else "application/json",
            )
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _body(self) -> bytes:
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                pieces = []
                while size := int(self.rfile.readline(), 16):
                    pieces.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(pieces)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


LABEL_ROUND = {"round": 1, "tasks": 2, "finished": 0, "reasons": {"uncertain": 2}}
AGREEMENT = {
    "name": "krippendorff_alpha_nominal",
    "value": 0.81,
    "low": 0.7,
    "high": 0.9,
    "rows": 40,
    "annotators": ["ada", "bob"],
}


def labelling(kind: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "instructions": "Look at the radius first.",
        "classes": ["benign", "malignant"],
        "annotators_wanted": 1,
        "budget": 50,
        "rows": None,
        "labelled_rows": None,
        "tasks": 0,
        "finished": 0,
        "answers": 0,
        "skipped": 0,
        "unusable": 0,
        "by_annotator": {},
        "rounds": [],
        "trouble": None,
    }


def label_task(row: str, sure: float | None) -> dict[str, Any]:
    suggestion = {"label": "malignant", "score": sure, "model_version": 2} if sure is not None else None
    return {
        "row": row,
        "fields": {"patient_id": row, "mean_radius": 14.25, "scanner": None},
        "suggestion": suggestion,
        "reason": "uncertain",
        "round": 1,
        "annotators": 1,
    }


def annotator_report(name: str) -> dict[str, Any]:
    return {
        "annotator": name,
        "answers": 12,
        "skipped": 1,
        "skip_share": 0.08,
        "median_seconds": 4.2,
        "pairs": 10,
        "agreement": 0.9,
        "distance": None,
        "gold": 4,
        "gold_right": 3,
        "gold_low": 0.3,
        "gold_high": 0.95,
        "gold_error": None,
    }


def project(name: str, title: str, task: str = "binary") -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "task": task,
        "target": "diagnosis" if task == "binary" else "cultivar",
        "rows": None,
        "dataset_version": None,
        "champion": None,
        "predictions": 0,
        "open_alerts": 0,
        "problem": None,
        "next_step": {"action": "upload", "text": "Send a CSV or Excel file."},
    }


def detail() -> dict[str, Any]:
    columns = [
        {
            "name": name,
            "type": kind,
            "role": role,
            "nulls": role == "feature",
            "min": low,
            "max": high,
            "values": values,
            "description": "",
        }
        for name, kind, role, low, high, values in COLUMNS
    ]
    return {
        "description": "",
        "columns": columns,
        "labels": {"kind": "column", "positive": "malignant"},
        "training": {
            "candidates": ["linear", "random_forest", "hist_gradient_boosting"],
            "trials": 6,
            "folds": 3,
            "metric": "roc_auc",
            "split": {"kind": "random", "test": 0.25},
        },
        "gates": {"beat_baseline": True},
        "serving": {"threshold": 0.5},
        "monitoring": {"window": 500},
    }


def inbox_source(**fields: Any) -> dict[str, Any]:
    return {
        **{"name": "inbox", "kind": "inbox", "where": "*", "every": None, "state": "ok", "since": None},
        **{"last_look": None, "last_ok": None, "waiting": 0, "taken": None, "error": None, "problems": []},
        **fields,
    }


def file_record(file_id: str, name: str, **members: Any) -> dict[str, Any]:
    return {
        "id": file_id,
        "name": name,
        "sha256": "ab" * 32,
        "bytes": 48_213,
        "status": "accepted",
        "rows": 200,
        "accepted": 200,
        "rejected": 0,
        "dataset_version": 2,
        "dataset": "raw@2",
        "found": {"format": "csv", "encoding": "utf-8", "delimiter": "\t"},
        "problem": None,
        "progress": None,
        "received_at": AT.format(1),
        "finished_at": AT.format(2),
        "url": f"/v1/projects/breast_cancer/files/{file_id}",
        **members,
    }


def partly_file() -> dict[str, Any]:
    return file_record("f1", "hospital_a.csv", rows=374, accepted=369, rejected=5)


def refused_file() -> dict[str, Any]:
    problem = {
        "title": "The file's columns are not the contract's",
        "detail": "hospital_c.csv lacks worst_area",
        "remedy": "Add the column, or change project.yaml.",
        "diff": {
            "missing": ["worst_area"],
            "unexpected": ["worst area"],
            "renamed": [{"expected": "worst_area", "found": "worst area"}],
        },
    }
    empty = {"found": None, "rows": None, "accepted": None, "rejected": None, "dataset_version": None}
    return file_record("f2", "hospital_c.csv", status="refused", problem=problem, **empty)


def table(name: str, rows: int) -> dict[str, Any]:
    return {
        "name": name,
        "version": 2,
        "rows": rows,
        "created": AT.format(3),
        "sha256": "cd" * 32,
        "columns": {column: kind for column, kind, *_ in COLUMNS},
        "parents": {} if name == "raw" else {"raw": 2},
        "sources": [{"name": "hospital_a.csv", "sha256": "ab" * 32}] if name == "raw" else [],
    }


DIFF: dict[str, Any] = {
    "from": 1,
    "to": 2,
    "rows_before": 300,
    "rows_after": 369,
    "added": 69,
    "changed": 1,
    "removed": 0,
    "unchanged": 299,
    "columns_added": {"visits": "int64"},
    "columns_removed": {},
    "columns_retyped": {},
    "columns_changed": {"mean_radius": 1},
    "examples": {"added": [{"_row": "P9"}], "changed": [{"_row": "P1", "mean_radius": [14.2, 15.0]}]},
    "profile": {},
}


def versions() -> list[dict[str, Any]]:
    first = {
        "version": 1,
        "current": False,
        "created": AT.format(2),
        "rows": 300,
        "parent": None,
        "parents": {},
    }
    second = {"version": 2, "current": True, "created": AT.format(3), "rows": 369, "parent": 1, "parents": {}}
    unknown = dict.fromkeys(("added", "changed", "removed"))
    known = {"added": 69, "changed": 1, "removed": 0}
    return [
        {**second, **known, "files": ["hospital_b.csv"], "note": ""},
        {**first, **unknown, "files": ["hospital_a.csv"], "note": ""},
    ]


def profile() -> list[dict[str, Any]]:
    found = []
    for name, kind, _, low, high, values in COLUMNS:
        is_number = kind in ("float", "integer")
        top = [[value, 100] for value in values or ([True] if kind == "boolean" else ["2026-03-01"])]
        found.append(
            {
                "column": name,
                "type": kind,
                "rows": 369,
                "nulls": 4,
                "distinct": 200,
                "min": low,
                "max": high,
                "mean": (low + high) / 2 if is_number else None,
                "p25": None,
                "p50": round((low + high) / 2, 4) if is_number else None,
                "p75": None,
                "top": [] if is_number else top,
                "histogram": {"edges": [low, high], "counts": [365]} if is_number else None,
                "examples": [] if is_number else [str(top[0][0])],
            }
        )
    return found


STEPS = ("raw", "labels", "features", "model", "evaluation", "deployment")


def training(run_id: str, version: int | None, status: str = "succeeded") -> dict[str, Any]:
    steps = [
        {
            "name": f"breast_cancer__{step}",
            "status": "succeeded",
            "started_at": AT.format(10 + index),
            "ended_at": AT.format(11 + index),
        }
        for index, step in enumerate(STEPS)
    ]
    return {
        "id": run_id,
        "job": "training",
        "status": status,
        "created_at": AT.format(9),
        "started_at": AT.format(10),
        "ended_at": AT.format(17),
        "steps": steps,
        "steps_total": len(steps),
        "percent": 100 if status == "succeeded" else 62,
        "trigger": "schedule",
        "actor": None,
        "reason": None,
        "retry_of": None,
        "waiting_for": None,
        "is_ending": False,
        "error": None,
        "url": f"/v1/projects/breast_cancer/trainings/{run_id}",
        "dagster_url": f"http://127.0.0.1:8702/runs/{run_id}",
        "model_version": version,
        "progress": None,
    }


def failed_training() -> dict[str, Any]:
    run = training("t1", None, status="failed")
    run["steps"] = run["steps"][:3]
    run["steps"][-1]["status"] = "failed"
    return run | {"error": "All held-out test rows have the same label\neach of the 12 rows is 'benign'"}


def ends(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": min(value + half, 1.0)}


def model(version: int, value: float, *, champion: bool) -> dict[str, Any]:
    check = {
        "name": "beat_baseline",
        "passed": True,
        "found": value - 0.02,
        "needed": 0.5,
        "message": "beats",
    }
    return {
        "version": version,
        "estimator": "random_forest" if version == 1 else "linear",
        "created": AT.format(15 + version),
        "metric": "roc_auc",
        "metrics": {"roc_auc": ends(value, 0.02), "accuracy": ends(value - 0.03, 0.03)},
        "baseline": {"roc_auc": 0.5, "accuracy": 0.63},
        "gate": {"passed": True, "reasons": [], "checks": [check]},
        "champion": champion,
        "provenance": {"dataset": "raw@2", "commit": "0123abc", "seed": 7, "libraries": {"numpy": "2.2"}},
    }


def model_detail(found: dict[str, Any]) -> dict[str, Any]:
    curve = [[index / 20, (index / 20) ** 0.15] for index in range(21)]
    fall = [[index / 20, 1 - 0.5 * (index / 20) ** 6] for index in range(21)]
    bins = [
        {"predicted": share / 10 + 0.05, "observed": (share / 10 + 0.04), "rows": 10} for share in range(10)
    ]
    evaluation = {
        "metric": "roc_auc",
        "metrics": found["metrics"],
        "baseline": found["baseline"],
        "rows": 92,
        "classes": ["benign", "malignant"],
        "positive": "malignant",
        "threshold": 0.5,
        "confusion": {"classes": ["benign", "malignant"], "counts": [[57, 1], [3, 31]]},
        "roc": {"malignant": curve},
        "pr": {"malignant": fall},
        "calibration": bins,
        "residuals": [],
        **studies_of(found),
    }
    candidates = [
        {
            "name": name,
            "estimator": name,
            "params": {"C": 1.0},
            "cv_mean": 0.98,
            "cv_std": 0.01,
            "seconds": 1.25,
        }
        for name in ("linear", "random_forest", "hist_gradient_boosting")
    ]
    return {
        "evaluation": evaluation,
        "candidates": candidates,
        "card": f"# Breast cancer, model {found['version']}\n\nMade from raw@2.",
        "classes": ["benign", "malignant"],
        "positive": "malignant",
        "threshold": 0.5,
    }


def studies_of(found: dict[str, Any]) -> dict[str, Any]:
    value = found["metrics"]["roc_auc"]["value"]
    slices = [
        {
            "column": "scanner",
            "name": name,
            "rows": 31,
            "metric": ends(value - lost, 0.05),
            "rest": value,
            "worse_by": ends(lost, 0.04),
            "p": 0.01,
            "is_worse": lost > 0.1,
            "note": "",
        }
        for name, lost in (("B1", 0.12), ("A1", 0.01))
    ]
    group = {
        "name": "A1",
        "rows": 60,
        "rates": {"selection_rate": ends(0.4, 0.1)},
        "counts": {"selection_rate": 60},
        "differences": {},
        "few": False,
    }
    columns = [
        {"column": "worst_area", "drop": 0.2, "std": 0.01, "correlated": ["mean_radius"]},
        {"column": "visits", "drop": 0.0, "std": 0.002, "correlated": []},
    ]
    return {
        "comparison": {
            "version": 1,
            "rows": 92,
            "live": {"roc_auc": 0.96, "accuracy": 0.93},
            "differences": {"roc_auc": ends(0.02, 0.01), "accuracy": ends(0.01, 0.02)},
            "reason": "",
        },
        "slices": slices,
        "fairness": [
            {
                "column": "scanner",
                "outcome": "malignant",
                "reference": "A1",
                "groups": [group],
                "largest": {},
                "note": "",
            }
        ],
        "importance": {
            "metric": "roc_auc",
            "rows": 92,
            "repeats": 5,
            "columns": columns,
            "columns_left_out": [],
        },
        "gaps": {"warnings": ["overfit: ROC AUC is worse by 0.2 on held-out rows"]},
    }


def change(revision: int, action: str, version: int, reason: str) -> dict[str, Any]:
    return {
        "revision": revision,
        "action": action,
        "version": version,
        "actor": "owner",
        "reason": reason,
        "at": AT.format(20 + revision),
        "percent": None,
        "detail": None,
    }


CHALLENGER: dict[str, Any] = {
    "version": 1,
    "stage": "shadow",
    "percent": None,
    "paused": False,
    "since": 3,
    "since_at": AT.format(23),
}


def comparison(**changes: Any) -> dict[str, Any]:
    """Model 1 beside model 2, as the API compares them."""
    from api.schema_out import COMPARISON

    return {**COMPARISON[1], "champion": 2, "challenger": 1, "since": 3, **changes}


def deployment() -> dict[str, Any]:
    history = [change(2, "deploy", 2, "better on held-out rows"), change(1, "deploy", 1, "the first")]
    return {
        "champion": 2,
        "previous": 1,
        "challenger": None,
        "revision": 2,
        "changed_at": history[0]["at"],
        "history": history,
    }


EXPLANATION = {
    "label": "malignant",
    "unit": "log-odds",
    "base_value": -0.5,
    "contributions": {"mean_radius": 1.25, "scanner": -0.25},
    "margin": 0.5,
    "calibrated": False,
}


def prediction(index: int, record: dict[str, Any] | None = None) -> dict[str, Any]:
    share = round(1 / (1 + math.exp(-(index % 7) + 3)), 4)
    return {
        "id": f"{index:08x}-0000-4000-8000-000000000000",
        "at": AT.format(30 + index % 30),
        "project": "breast_cancer",
        "model_version": 2,
        "role": "champion",
        "request_id": "req-7",
        "entity_id": f"P{index}",
        "input": record or {"mean_radius": 14.2},
        "label": "malignant" if share > 0.5 else "benign",
        "score": share,
        "probabilities": {"benign": round(1 - share, 4), "malignant": share},
        "flags": [{"field": "scanner", "problem": "unknown_category", "action": "flagged"}]
        if index == 1
        else [],
        "latency_ms": 2.4,
    }


def alert() -> dict[str, Any]:
    return {
        "id": 7,
        "project": "breast_cancer",
        "kind": "drift",
        "subject": "drift",
        "state": "open",
        "severity": "warning",
        "title": "The inputs have drifted: mean_radius, worst_area",
        "detail": {"columns": ["mean_radius", "worst_area"]},
        "times_seen": 3,
        "opened_at": AT.format(40),
        "last_seen_at": AT.format(50),
        "resolved_at": None,
    }


def drift_column(
    name: str, value: float, *, drifted: bool, bins: list[Any], kind: str = "numeric"
) -> dict[str, Any]:
    reference, current = [0.1, 0.2, 0.4, 0.2, 0.1], [0.02, 0.08, 0.2, 0.3, 0.4]
    return {
        "column": name,
        "kind": kind,
        "statistic": "psi",
        "value": value,
        "threshold": 0.21,
        "expected_without_drift": 0.04,
        "missing_reference": 0.01,
        "missing_current": 0.02,
        "new_categories": [],
        "out_of_range": 0.0,
        "drifted": drifted,
        "js": 0.3,
        "ks": 0.2 if kind == "numeric" else None,
        "chi2": None,
        "cramers_v": None,
        "bins": bins,
        "reference_share": reference,
        "current_share": current if drifted else reference,
    }


def drift_report() -> dict[str, Any]:
    lengths = ["up to 10", "10 to 12.5", "12.5 to 15", "15 to 20", "over 20"]
    shares = ["0 to 0.2", "0.2 to 0.4", "0.4 to 0.6", "0.6 to 0.8", "0.8 to 1"]
    names = ["A1", "A2", "B1", "other", "missing"]
    return {
        "verdict": "drift",
        "rows": 200,
        "model_version": 2,
        "window_from": AT.format(30),
        "window_to": AT.format(45),
        "columns": [
            drift_column("scanner", 0.03, drifted=False, bins=names, kind="categorical"),
            drift_column("mean_radius", 0.92, drifted=True, bins=lengths),
            drift_column("_prediction", 0.41, drifted=True, bins=shares),
        ],
    }
