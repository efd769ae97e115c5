"""`tidemill rollout` against the application."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

from tests.api.conftest import AppTransport
from tidemill import cli, local
from tidemill.client import Client
from tidemill.home import Home
from tidemill.rollout_commands import compared_text
from tidemill.serve.challengers import shadow
from tidemill.serve.rollout_report import write_report

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    transport: AppTransport,
    key: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    def connect(*_: Any, **__: Any) -> Client:
        return Client("http://api", key, transport=transport)

    monkeypatch.setattr(local, "local_client", connect)

    def go(*words: str) -> tuple[int, str, str]:
        code = cli.main(["rollout", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return go


@pytest.mark.usefixtures("deployed")
def test_a_model_through_its_stages(run: Run) -> None:
    code, out, _ = run("shadow", "pets", "2", "--reason", "to compare")
    assert (code, "Model 2 is in shadow since" in out) == (0, True)
    code, _, err = run("canary", "pets", "--reason", "hopeful")
    assert (code, "has not passed its gate" in err) == (1, True)
    code, out, _ = run("canary", "pets", "--percent", "25", "--despite-gate", "--reason", "hopeful")
    assert (code, "Model 2 is in canary of 25 % since" in out) == (0, True)
    assert "paused" in run("pause", "pets", "--reason", "a holiday")[1]
    assert "paused" not in run("resume", "pets", "--reason", "back")[1]
    code, _, err = run("withdraw", "pets", "--reason", "late", "--revision", "2")
    assert code == 1
    assert "owner made the last change (resume of model 2)" in err
    code, out, _ = run("promote", "pets", "--despite-gate", "--reason", "as good")
    assert (code, out.startswith("Model 2 answers")) == (0, True)
    assert run("rollback", "pets", "--reason", "not as good")[1].startswith("Model 1 answers")
    code, _, err = run("promote", "pets", "--reason", "which?")
    assert (code, "There is no challenger" in err) == (1, True)
    shown = run("show", "pets")[1]
    for change in (
        "rollback",
        "promote",
        "resume",
        "pause",
        "canary",
        "shadow",
        "deploy",
        "a holiday",
        "owner",
    ):
        assert change in shown
    assert json.loads(run("show", "pets", "--json")[1])["champion"] == 1


@pytest.mark.usefixtures("deployed")
def test_comparing(run: Run, home: Home, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    from api.schema_out import COMPARISON

    assert app.state.context.home.root == home.root
    code, _, err = run("compare", "pets")
    assert (code, "Nothing has been compared" in err) == (1, True)
    shadow(app.state.context.state, "pets", 2, actor="test", reason="a test")
    monkeypatch.setattr("tidemill.rollout_commands.BEGIN_SECONDS", 0.0)
    code, _, err = run("compare", "pets")
    assert (code, "The comparison has just begun" in err, "is in shadow" in err) == (1, True, True)
    write_report(home, "pets", 2, COMPARISON[1] | {"kept": {"places": {}}})
    code, out, _ = run("compare", "pets")
    assert code == 0
    for shown in ("Model 2 in canary beside model 1", "100 records", "97.00%", "known truths"):
        assert shown in out
    assert "kept" not in json.loads(run("compare", "pets", "--json")[1])
    odd: Any = COMPARISON[1] | {"agreement": None, "difference": None, "breach": {"text": "too slow"}}
    assert "taken back: too slow" in compared_text(odd)
