"""`tidemill init`: the project file, the first data, and nothing half written."""

from pathlib import Path

import pytest

from tidemill.data import init
from tidemill.data.init import init_project
from tidemill.data.ledger import pending_files
from tidemill.errors import Conflict, InvalidInput
from tidemill.home import Home
from tidemill.project import load_project


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "My data.csv"
    path.write_text("x,y\n" + "".join(f"{n}.5,{'yes' if n % 3 else 'no'}\n" for n in range(40)))
    return path


def test_writes_the_project_and_drops_the_file(home: Home, source: Path) -> None:
    made = init_project(home, source, "mine", "y")
    assert load_project(home, "mine") == made.project
    assert [path.name for path in pending_files(home, "mine")] == ["My_data.csv"]
    assert source.exists()
    assert "40 rows, 2 columns" in made.summary
    assert str(home.inbox("mine")) in made.summary


def test_an_existing_project_is_kept_unless_forced(home: Home, source: Path) -> None:
    file = init_project(home, source, "mine", "y").project_file
    file.write_text(file.read_text() + "# mine\n")
    with pytest.raises(Conflict, match="already"):
        init_project(home, source, "mine", "y")
    assert file.read_text().endswith("# mine\n")
    init_project(home, source, "mine", "y", force=True)
    assert not file.read_text().endswith("# mine\n")


@pytest.mark.parametrize(
    ("name", "target", "task"), [("mine", "z", None), ("No", "y", None), ("mine", "y", "regression")]
)
def test_a_refusal_writes_nothing(home: Home, source: Path, name: str, target: str, task: str | None) -> None:
    with pytest.raises(InvalidInput):
        init_project(home, source, name, target, task)
    assert home.project_names() == []
    assert not (home.root / "inbox").exists()


def test_a_failure_while_writing_leaves_nothing(
    home: Home, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(init, "replace_bytes", full)
    with pytest.raises(KeyboardInterrupt):
        init_project(home, source, "mine", "y")
    assert home.project_names() == []
    assert not list(home.inbox("mine").iterdir())


def test_a_file_in_the_inbox_may_be_the_source(home: Home, source: Path) -> None:
    home.inbox("mine").mkdir(parents=True)
    inside = source.rename(home.inbox("mine") / "data.csv")
    init_project(home, inside, "mine", "y")
    assert [path.name for path in pending_files(home, "mine")] == ["data.csv"]
