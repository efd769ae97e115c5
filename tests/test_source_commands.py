"""`tidemill data sources` and `tidemill data fetch`."""

import json
from pathlib import Path

import pytest

from tidemill import cli
from tidemill.home import Home

CONTRACT = """\
name: shop
task: binary
columns:
  id: {type: string, role: id}
  age: {type: integer}
  churn: {type: category, role: target, values: ['no', 'yes']}
"""


@pytest.fixture
def share(home: Home, tmp_path: Path) -> Path:
    """The folder of a share that `shop` watches, with a finished file and one that is not."""
    folder = tmp_path / "share"
    folder.mkdir()
    (folder / "a.csv").write_text("id,age,churn\n1,2,no\n")
    (folder / "a.csv.done").touch()
    (folder / "b.csv").write_text("id,age,churn\n2,3,yes\n")
    file = home.project_file("shop")
    file.parent.mkdir(parents=True)
    watched = f"{{kind: share, name: lab, path: '{folder}/*.csv', marker: .done}}"
    file.write_text(f"{CONTRACT}sources:\n  - {{pattern: '*'}}\n  - {watched}\n")
    return folder


def test_fetch_takes_what_is_new_and_sources_tells_how_it_was(
    share: Path, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "sources", "shop"]) == 0
    assert "not looked at" in capsys.readouterr().out
    assert cli.main(["data", "fetch", "shop"]) == 0
    said = capsys.readouterr().out
    assert "lab: 1 taken, 0 known, 1 waiting" in said
    assert "a.csv" in said
    assert len(list(home.inbox("shop").glob("lab__*a.csv"))) == 1
    assert cli.main(["data", "fetch", "shop", "--source", "lab", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["taken"], found["known"], found["state"]) == ([], 1, "ok")
    assert cli.main(["data", "sources", "shop", "--json"]) == 0
    inbox, lab = json.loads(capsys.readouterr().out)
    assert (inbox["kind"], lab["taken"], lab["waiting"], lab["state"]) == ("inbox", 1, 1, "ok")
    assert share.is_dir()


def test_a_source_that_is_away_is_told_with_the_way_out(
    share: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    share.rename(share.with_name("gone"))
    assert cli.main(["data", "fetch", "shop"]) == 1
    said = capsys.readouterr().out
    assert str(share) in said
    assert "What to do: Mount the share" in said
    assert cli.main(["data", "sources", "shop"]) == 0
    assert "away" in capsys.readouterr().out


def test_an_unknown_source_is_answered_with_those_there_are(
    share: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "fetch", "shop", "--source", "lib"]) == 1
    assert "watches: lab" in capsys.readouterr().err
    assert share.is_dir()
