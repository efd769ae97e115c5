"""Where everything lies, and which names may become folders."""

from pathlib import Path

import pytest

from tidemill.errors import InvalidInput, NotFound
from tidemill.home import Home, check_project_name


@pytest.mark.parametrize("name", ["a", "breast_cancer", "x" * 48, "a1"])
def test_names_that_folders_keys_and_sql_share(name: str) -> None:
    assert check_project_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "1a", "a-b", "a b", "../a", "x" * 49, "a/b", "ä", "a\n"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_project_name(name)


def test_the_home_is_named_by_argument_then_variable_then_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path / "by-variable"))
    assert Home.find(tmp_path / "given").root == tmp_path / "given"
    assert Home.find().root == tmp_path / "by-variable"
    monkeypatch.delenv("TIDEMILL_HOME")
    assert Home.find().root.name == ".tidemill"


def test_secrets_are_private(home: Home) -> None:
    assert home.secrets.stat().st_mode & 0o777 == 0o700


def test_a_project_that_is_not_there_is_answered_with_those_that_are(home: Home) -> None:
    home.project_file("churn").parent.mkdir()
    home.project_file("churn").touch()
    with pytest.raises(NotFound) as caught:
        home.require_project("chrun")
    assert "churn" in caught.value.detail
    with pytest.raises(NotFound):
        home.require_project("../../etc")


def test_a_deep_home_gets_a_socket_path_the_system_can_bind(tmp_path: Path) -> None:
    deep = Home.find(tmp_path / ("deep" * 40))
    assert len(str(deep.worker_socket)) < 100
    assert deep.worker_socket == Home.find(deep.root).worker_socket
    assert deep.worker_socket != Home.find(str(deep.root) + "er").worker_socket
