"""What the command line tells of single files."""

import json
from pathlib import Path

import pytest

from tidemill import cli
from tidemill.data.ingest import ingest_pending
from tidemill.home import Home
from tidemill.project import load_project
from tidemill.store.state import open_state

CONTRACT = """
name: shop
task: binary
columns:
  id: {type: string, role: id}
  age: {type: integer, min: 0}
  churn: {type: category, role: target}
rejects: {max_share: 0.9}
"""


@pytest.fixture
def files(home: Home) -> Path:
    """A file that was taken with a reject, one that was refused, and one that waits."""
    home.project_file("shop").parent.mkdir(parents=True)
    home.project_file("shop").write_text(CONTRACT)
    inbox = home.inbox("shop")
    inbox.mkdir(parents=True)
    (inbox / "good.csv").write_text("id,age,churn\na,4,yes\nb,old,no\n")
    (inbox / "other.csv").write_text("id,age\nc,5\n")
    ingest_pending(home, open_state(home), load_project(home, "shop"))
    (inbox / "late.csv").write_text("id,age,churn\nd,6,no\n")
    return inbox


@pytest.mark.usefixtures("files")
def test_files_are_listed_with_why_one_was_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "files", "shop"]) == 0
    said = capsys.readouterr().out
    rows = {
        cells[-6] if len(cells) > 3 else cells[0]: cells
        for cells in map(str.split, said.splitlines())
        if cells
    }
    assert rows["good.csv"][1:] == ["good.csv", "accepted", "2", "1", "1", "1"]
    assert rows["late.csv"] == ["late.csv", "waits"]
    assert "other.csv was refused: " in said
    assert "churn" in said
    assert "what to do: " in said
    assert cli.main(["data", "files", "shop", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {file["name"]: file["status"] for file in found["files"]} == {
        "good.csv": "accepted",
        "other.csv": "refused",
    }
    assert found["waiting"] == ["late.csv"]


@pytest.mark.usefixtures("files")
def test_the_rejects_of_a_refused_file_say_that_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "rejects", "shop", "other.csv"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("file,line,column,value,reason")
    assert "other.csv was refused: " in said.err


def test_a_project_without_data_says_where_to_look(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.project_file("shop").parent.mkdir(parents=True)
    home.project_file("shop").write_text(CONTRACT)
    assert cli.main(["data", "versions", "shop"]) == 1
    assert "tidemill data files" in capsys.readouterr().err
