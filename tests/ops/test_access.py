"""Roles, the projects and the rate of a caller."""

import time

import pytest

from tidemill.errors import Conflict, InvalidInput
from tidemill.home import Home
from tidemill.ops.access import Caller, RateLimits, Role
from tidemill.ops.keys import KeyRing, create_key, list_keys
from tidemill.store.state import open_state


def test_each_role_may_do_what_those_before_it_may() -> None:
    may = {role: [other.value for other in Role if Caller("x", role).may(other)] for role in Role}
    assert may[Role.VIEWER] == ["viewer"]
    assert may[Role.TRAINER] == ["viewer", "labeler", "trainer"]
    assert may[Role.ADMIN] == ["viewer", "labeler", "trainer", "promoter", "admin"]


def test_a_caller_reaches_its_projects_or_all() -> None:
    assert Caller("x").of_these(["a", "b"]) == ["a", "b"]
    assert Caller("x", projects=frozenset({"b"})).of_these(["a", "b"]) == ["b"]
    assert not Caller("x", projects=frozenset()).reaches("a")


def test_an_unknown_role_is_told_the_known_ones() -> None:
    with pytest.raises(InvalidInput) as caught:
        Role.of("root")
    assert "viewer, labeler, trainer, promoter, admin" in caught.value.remedy


def test_a_second_of_requests_may_come_at_once_then_they_come_at_the_rate() -> None:
    now = 100.0
    limits = RateLimits(clock=lambda: now)
    slow = Caller("slow", per_second=4.0)
    assert [limits.take(slow) for _ in range(4)] == [0.0] * 4
    assert limits.take(slow) == pytest.approx(0.25)
    now += 0.25
    assert limits.take(slow) == 0.0
    assert limits.take(slow) > 0
    now += 60.0
    assert sum(limits.take(slow) == 0.0 for _ in range(10)) == 4


def test_the_boxs_limit_is_for_keys_without_one_and_each_key_has_its_own() -> None:
    limits = RateLimits(1.0, clock=lambda: 0.0)
    assert limits.take(Caller("a")) == 0.0
    assert limits.take(Caller("a")) == 1.0
    assert limits.take(Caller("b")) == 0.0
    assert [limits.take(Caller("fast", per_second=3.0)) for _ in range(3)] == [0.0] * 3
    assert [RateLimits().take(Caller("a")) for _ in range(99)] == [0.0] * 99


def test_a_slow_rate_is_one_request_in_its_time() -> None:
    limits = RateLimits(0.1, clock=lambda: 0.0)
    assert limits.take(Caller("a")) == 0.0
    assert limits.take(Caller("a")) == pytest.approx(10.0)


def test_a_key_carries_its_rights_and_expires(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    state = open_state(home)
    key = create_key(state, "ward 7", role=Role.LABELER, projects=["b", "a"], per_second=5.0, days=1.0)
    ring = KeyRing(state)
    ring.refresh()
    caller = ring.caller_of(key)
    assert caller is not None
    assert (caller.role, caller.projects, caller.per_second) == (Role.LABELER, frozenset({"a", "b"}), 5.0)
    assert caller.expires_at == pytest.approx(time.time() + 86_400, abs=60)
    listed = list_keys(state)[0]
    assert (listed["role"], listed["projects"], listed["per_second"]) == ("labeler", "a, b", 5.0)
    with pytest.raises(Conflict):
        create_key(state, "ward 7")
    later = time.time() + 86_401
    monkeypatch.setattr("tidemill.ops.keys.time.time", lambda: later)
    assert ring.caller_of(key) is None
    assert create_key(state, "ward 7") != key


def test_a_new_key_may_only_look(home: Home) -> None:
    state = open_state(home)
    create_key(state, "robot")
    assert list_keys(state)[0]["role"] == "viewer"


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 61, "key\x1b[31m", " lead"])
def test_a_name_that_would_spoil_a_list_is_refused(home: Home, name: str) -> None:
    with pytest.raises(InvalidInput):
        create_key(open_state(home), name)


@pytest.mark.parametrize(
    "rights", [{"days": 0}, {"days": -1}, {"per_second": 0}, {"per_second": float("nan")}]
)
def test_a_number_that_limits_nothing_is_refused(home: Home, rights: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        create_key(open_state(home), "x", **rights)  # type: ignore[arg-type]
