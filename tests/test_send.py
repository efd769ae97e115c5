"""`tidemill data send` with the real API; the ingestion is done here, as a run would."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tidemill import cli
from tidemill.data.ingest import ingest_pending
from tidemill.home import Home
from tidemill.project import load_project
from tidemill.send import outcome_text
from tidemill.store.state import open_state

from .api.conftest import add_project
from .api.served import Served

HEADER = "pet_id,kind,weight,sick,age,chipped,born\n"


@pytest.fixture
def served(home: Home) -> Any:
    add_project(home)
    with Served(home) as made:
        (home.run / "ports.json").write_text(json.dumps({"api": made.port}))
        yield made


def ingest(home: Home) -> None:
    state = open_state(home)
    while not (home.inbox("pets").is_dir() and list(home.inbox("pets").glob("*.csv"))):
        threading.Event().wait(0.05)
    ingest_pending(home, state, load_project(home, "pets"))
    state.engine.dispose()


@pytest.mark.parametrize(
    ("row", "code", "said"),
    [
        ("p1,cat,4,no,3,yes,2020-01-02\n", 0, "a.csv is in raw@1: 1 rows."),
        ("p1,cow,4,no,3,yes,2020-01-02\n", 1, "a.csv was refused: Too many rows break the contract"),
    ],
)
def test_a_file_is_sent_and_followed(
    served: Served, tmp_path: Path, capsys: Any, row: str, code: int, said: str
) -> None:
    file = tmp_path / "a.csv"
    file.write_text(HEADER + row)
    run = threading.Thread(target=ingest, args=(served.home,))
    run.start()
    assert cli.main(["data", "send", "pets", str(file)]) == code
    run.join()
    assert capsys.readouterr().out.startswith(said)


def test_a_file_is_sent_and_not_waited_for(served: Served, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "a.csv"
    file.write_text(HEADER)
    assert cli.main(["data", "send", "pets", str(file), "--no-wait", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "received"
    assert (served.home.inbox("pets") / "a.csv").read_text() == HEADER


@pytest.mark.usefixtures("served")
def test_what_cannot_be_sent(tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["data", "send", "pets", str(tmp_path / "none.csv")]) == 1
    assert "There is no such file" in capsys.readouterr().err
    odd = tmp_path / "odd"
    odd.write_text("x")
    assert cli.main(["data", "send", "pets", str(odd)]) == 1
    assert "suffix" in capsys.readouterr().err


def test_what_is_said_of_a_file() -> None:
    record = {
        "id": "ab",
        "name": "a.csv",
        "status": "accepted",
        "dataset": "raw@2",
        "accepted": 5,
        "rejected": 2,
    }
    assert outcome_text(record) == "a.csv is in raw@2: 5 rows, 2 rejected."
    assert outcome_text(record | {"status": "received"}).startswith("a.csv has arrived as ab")
