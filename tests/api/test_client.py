"""The typed client against the application: what it says comes is what comes."""

import inspect
import subprocess
import sys
from datetime import date, datetime
from typing import Any, get_type_hints

import httpx
import numpy as np
import pandas as pd
import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter

from api import schema_out
from tidemill import client_transport
from tidemill.client import ApiError, Client, Unreachable
from tidemill.monitor.alerts import raise_alert

SICK = {"pet_id": "p1", "kind": "cat", "weight": 19.0, "age": 3, "chipped": True, "born": "2020-01-01"}

OUTS = {
    name: value for name, value in vars(schema_out).items() if isinstance(value, tuple) and len(value) == 2
}


def check(method: str, answer: Any) -> None:
    """Hold an answer to the method's own annotation."""
    promised = get_type_hints(getattr(Client, method))["return"]
    TypeAdapter(promised).validate_python(answer, strict=True)
    if hasattr(promised, "__required_keys__"):
        assert set(answer) <= promised.__required_keys__ | promised.__optional_keys__


def test_answers_keep_their_types(deployed: FastAPI, client: Client) -> None:
    state = deployed.state.context.state
    raise_alert(state, "pets", "drift", "model 1", "drift", "warning", {"n": 1})
    file = client.upload("pets", b"kind\ncat\n", "a.csv")
    training = client.start_training("pets")
    answer = client.predict("pets", SICK)
    calls: dict[str, tuple[Any, ...]] = {
        "health": (),
        "ready": (),
        "projects": (),
        "project": ("pets",),
        "files": ("pets",),
        "file": ("pets", file["id"]),
        "sources": ("pets",),
        "tables": ("pets",),
        "trainings": ("pets",),
        "training": ("pets", training["id"]),
        "runs": ("pets",),
        "run": ("pets", training["id"]),
        "models": ("pets",),
        "model": ("pets", 1),
        "deployment": ("pets",),
        "predict_many": ("pets", [SICK]),
        "predict_each": ("pets", [SICK, {"weight": "x"}]),
        "predictions": ("pets",),
        "prediction": ("pets", answer["id"]),
        "send_truths": ("pets", [{"prediction_id": answer["id"], "label": "yes"}]),
        "quality": ("pets",),
        "drift": ("pets",),
        "start_drift": ("pets",),
        "alerts": ("pets",),
        "me": (),
        "audit": (),
        "acknowledge": ("pets", 1),
    }
    check("upload", file)
    check("start_training", training)
    check("predict", answer)
    check("predict", client.predict("pets", SICK, explain=True))
    for method, arguments in calls.items():
        check(method, getattr(client, method)(*arguments))
    untried = {
        "close",
        # tried in test_models.py
        "deploy",
        "rollback",
        # tried in test_deployments.py
        "shadow",
        "canary",
        "comparison",
        "pause",
        "resume",
        "withdraw",
        "follow_file",
        "rejected_rows",
        "send_records",
        "rejects",
        "model_card",  # tried in test_models.py
        "send_truth",
        "table",
        "profile",
        "table_versions",
        "table_diff",
        # tried in test_labels.py
        "agreement",
        "annotators",
        "answer",
        "label_stability",
        "labelling",
        "next_task",
        "start_round",
        "undo_answer",
        "label_studio_link",  # tried in test_label_studio.py
        "mlflow_link",  # tried in test_mlflow_pages.py
        # tried in test_imports.py
        "import_model",
        "model_import",
        "model_imports",
        # tried in test_batch.py
        "batch",
        "batch_result",
        "start_batch",
        # tried in test_training.py
        "cancel_training",
        "follow_training",
        "retry_training",
    } | set(calls)
    public = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    waits = {name for name in public if name.startswith("wait_")}
    assert public - waits == untried | {"upload", "start_training", "predict"}


@pytest.mark.parametrize("name", OUTS)
def test_the_documents_examples_keep_their_types(name: str) -> None:
    promised, example = OUTS[name]
    TypeAdapter(promised).validate_python(example, strict=True)


def test_it_imports_nothing_else_of_ours() -> None:
    code = "import sys, tidemill.client; print(sorted(name for name in sys.modules if name.startswith('tidemill')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    parts = [
        "client",
        "client_files",
        "client_models",
        "client_predictions",
        "client_transport",
        "client_types",
    ]
    assert done.stdout.strip() == str(["tidemill", *(f"tidemill.{part}" for part in parts)])


def test_frames_numbers_and_dates_become_json() -> None:
    record = {
        "a": np.float64("nan"),
        "b": np.int64(3),
        "c": pd.NaT,
        "d": pd.Timestamp("2020-01-01"),
        "e": date(2020, 1, 1),
        "f": datetime(2020, 1, 1),
        "g": np.bool_(True),
        "h": [1.5, None],
    }
    assert client_transport.plain(record) == {
        "a": None,
        "b": 3,
        "c": None,
        "d": "2020-01-01T00:00:00",
        "e": "2020-01-01",
        "f": "2020-01-01T00:00:00",
        "g": True,
        "h": [1.5, None],
    }


def test_an_api_that_is_away_says_how_to_start_it() -> None:
    with Client("http://127.0.0.1:1", "tm_x", timeout=2) as away, pytest.raises(Unreachable) as caught:
        away.projects()
    assert caught.value.is_retryable
    assert "tidemill up" in str(caught.value)


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), httpx.Response(200, json=[1])])
def test_a_stranger_is_not_taken_for_the_api(answer: httpx.Response) -> None:
    with (
        Client("http://api", "k", transport=httpx.MockTransport(lambda _: answer)) as client,
        pytest.raises(ApiError, match="not Tidemill's API"),
    ):
        client.projects()


def test_a_proxys_error_page_is_an_error_with_its_status() -> None:
    bad = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>Bad gateway"))
    with Client("http://api", "k", transport=bad) as client, pytest.raises(ApiError) as caught:
        client.projects()
    assert (caught.value.status, caught.value.is_retryable) == (502, True)


def test_names_cannot_leave_their_place_in_the_path() -> None:
    seen: list[str] = []

    def look(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path.decode())
        return httpx.Response(200, json={})

    with Client("http://api", "k", transport=httpx.MockTransport(look)) as client:
        client.project("../admin?x=1#y")
    assert seen == ["/v1/projects/..%2Fadmin%3Fx%3D1%23y"]
