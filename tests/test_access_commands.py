"""`tidemill key` and `tidemill audit` as a person types them."""

import json

import pytest

from tidemill import cli
from tidemill.home import Home
from tidemill.ops.access import Caller, Role
from tidemill.ops.keys import KeyRing
from tidemill.store.state import open_state


@pytest.fixture(autouse=True)
def _home(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_HOME", str(home.root))


def test_a_key_is_shown_once_and_may_do_what_was_said(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["key", "create", "ward", "--role", "labeler", "--rate", "5", "--days", "2"]) == 0
    secret = capsys.readouterr().out.strip()
    ring = KeyRing(open_state(home))
    ring.refresh()
    caller = ring.caller_of(secret)
    assert isinstance(caller, Caller)
    assert (caller.role, caller.per_second, caller.projects) == (Role.LABELER, 5.0, None)
    assert cli.main(["key", "list"]) == 0
    listed = capsys.readouterr().out
    assert "labeler" in listed
    assert secret not in listed
    assert cli.main(["key", "revoke", "ward"]) == 0
    ring.renew()
    assert ring.caller_of(secret) is None


def test_what_cannot_be_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        (["create"], "A key has a name"),
        (["create", "x", "--role", "root"], "There is no such role"),
        (["create", "x", "--project", "nonsense"], "nonsense"),
        (["create", "x", "--days", "0"], "days"),
        (["revoke", "nobody"], "There is no such key"),
    ):
        assert cli.main(["key", *words]) == 1
        assert told in capsys.readouterr().err


def test_the_audit_log_is_listed_exported_and_held(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", "list"]) == 0
    assert "Nothing was changed yet" in capsys.readouterr().out
    assert cli.main(["key", "create", "ward"]) == 0
    secret = capsys.readouterr().out.strip()
    assert cli.main(["audit", "list"]) == 0
    assert "key create" in capsys.readouterr().out
    assert cli.main(["audit", "export"]) == 0
    exported = capsys.readouterr().out
    assert secret not in exported
    head = json.loads(exported.splitlines()[-1])["hash"]
    assert cli.main(["audit", "verify", "--head", head]) == 0
    assert head in capsys.readouterr().out
    assert cli.main(["audit", "verify", "--head", "f" * 64]) == 1
    assert "does not hold that head" in capsys.readouterr().err
