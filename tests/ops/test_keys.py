import stat

import pytest

from tidemill.errors import Conflict, Corrupt, NotFound
from tidemill.home import Home
from tidemill.ops.access import Caller, Role
from tidemill.ops.keys import (
    KEY,
    OWNER,
    KeyRing,
    create_key,
    ensure_owner_key,
    hash_of,
    list_keys,
    new_key,
    revoke_key,
)
from tidemill.store.state import State, open_state


@pytest.fixture
def state(home: Home) -> State:
    return open_state(home)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_keys_look_alike_and_are_all_different() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(KEY.fullmatch(key) for key in keys)


def test_the_owners_key_is_private_and_stays(home: Home, state: State) -> None:
    key = ensure_owner_key(home)
    file = home.secrets / "owner.key"
    assert file.read_text().strip() == key == ensure_owner_key(home, state)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    ensure_owner_key(home, state)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_new_database_learns_the_owners_key(home: Home, tmp_path_factory: pytest.TempPathFactory) -> None:
    key = ensure_owner_key(home)
    other = open_state(home, f"sqlite:///{tmp_path_factory.mktemp('db')}/other.db")
    assert ensure_owner_key(home, other) == key
    ring = KeyRing(other)
    ring.refresh()
    assert ring.caller_of(key) == Caller(OWNER)


def test_a_revoked_owners_key_is_replaced(home: Home, state: State) -> None:
    key = ensure_owner_key(home, state)
    revoke_key(state, OWNER)
    assert ensure_owner_key(home, state) != key


def test_a_key_file_with_something_else_is_named(home: Home, state: State) -> None:
    (home.secrets / "owner.key").write_text("hunter2")
    with pytest.raises(Corrupt, match="holds no key"):
        ensure_owner_key(home, state)


def test_keys_are_stored_as_hashes_and_listed_without(state: State) -> None:
    key = create_key(state, "robot")
    assert [entry["name"] for entry in list_keys(state)] == ["robot"]
    assert key not in repr(list_keys(state))
    assert hash_of(key) not in repr(list_keys(state))
    with pytest.raises(Conflict):
        create_key(state, "robot")
    revoke_key(state, "robot")
    assert create_key(state, "robot") != key


def test_revoking_what_is_not_there(state: State) -> None:
    with pytest.raises(NotFound):
        revoke_key(state, "nobody")


def test_a_revoked_key_is_refused_within_five_seconds(state: State) -> None:
    clock = Clock()
    ring = KeyRing(state, clock=clock)
    key = create_key(state, "robot")
    ring.refresh()
    assert ring.caller_of(key) == Caller("robot", Role.VIEWER)
    revoke_key(state, "robot")
    clock.now += 4.9
    assert ring.is_stale()
    ring.refresh()
    assert ring.caller_of(key) is None


def test_strangers_cannot_make_the_ring_ask_all_the_time(state: State) -> None:
    clock = Clock()
    ring = KeyRing(state, clock=clock)
    ring.refresh()
    assert not ring.is_stale(unknown=True)
    key = create_key(state, "new")
    clock.now += 0.6
    assert ring.is_stale(unknown=True)
    assert not ring.is_stale()
    ring.refresh(unknown=True)
    assert ring.caller_of(key) == Caller("new", Role.VIEWER)
