"""The service `sources`: states as they are remembered, without anything secret."""

from pathlib import Path

import pytest
from fastapi import FastAPI

from tidemill.client import Client
from tidemill.data.sources.fetch import look
from tidemill.home import Home
from tidemill.project import load_project
from tidemill.settings import Settings


@pytest.fixture
def share(home: Home, app: FastAPI, tmp_path: Path) -> Path:  # noqa: ARG001 (makes the project)
    """The folder of a share that the project watches."""
    folder = tmp_path / "share"
    folder.mkdir()
    file = home.project_file("pets")
    watched = f"{{kind: share, name: lab, path: '{folder}/*.csv', marker: .done}}"
    file.write_text(f"{file.read_text()}\nsources: [{{kind: inbox}}, {watched}]\n")
    return folder


def test_sources_are_listed_with_their_states(client: Client, home: Home, app: FastAPI, share: Path) -> None:
    state = app.state.context.state
    inbox, lab = client.sources("pets")
    assert (inbox["kind"], inbox["state"], inbox["every"]) == ("inbox", "ok", None)
    assert (lab["name"], lab["kind"], lab["state"], lab["taken"]) == ("lab", "share", None, 0)
    assert lab["where"] == f"{share}/*.csv"
    described = load_project(home, "pets")
    (source,) = described.watched
    (share / "a.csv").write_text("x\n")
    look(home, state, described, source, Settings())
    assert client.sources("pets")[1]["waiting"] == 1
    (share / "a.csv.done").touch()
    look(home, state, described, source, Settings())
    lab = client.sources("pets")[1]
    assert (lab["state"], lab["taken"], lab["waiting"], lab["error"]) == ("ok", 1, 0, None)
    share.rename(share.with_name("gone"))
    look(home, state, described, source, Settings())
    lab = client.sources("pets")[1]
    assert (lab["state"], lab["taken"]) == ("away", 1)
    assert lab["error"] is not None
    assert str(share) in lab["error"]["detail"]
    assert lab["last_ok"] is not None
    assert lab["last_look"] is not None
    assert lab["last_ok"] <= lab["last_look"]
