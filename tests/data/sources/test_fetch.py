"""One look at a source: what is taken, once, whatever happens between the steps."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill.data import ledger
from tidemill.data.ingest import ingest_pending
from tidemill.data.sources import fetch
from tidemill.data.sources.arrival import Arrival
from tidemill.data.sources.seen import Memory, overview
from tidemill.errors import NotReady, SourceAway
from tidemill.home import Home
from tidemill.project import Project
from tidemill.project_sources import InboxSource
from tidemill.store.durable import locked
from tidemill.store.state import State, open_state
from tidemill.store.tables import TableStore

HEADER = b"id,age,spend,plan,member,seen,churn\n"
A = HEADER + b"1,30,10.5,basic,true,2024-01-02,no\n"
B = HEADER + b"2,40,11.5,plus,false,2024-01-03,yes\n"
BAD = HEADER + b"3,thirty,x,unheard,maybe,never,perhaps\n"


@pytest.fixture
def watched(home: Home, shop: Project) -> Project:  # noqa: ARG001 (writes the project's file)
    """The project `shop` with a source, as its file says too: what is read from disk must know it."""
    text = home.project_file("shop").read_text()
    source = "sources: [{kind: inbox}, {kind: share, name: lab, path: '/fake/*.csv'}]\n"
    home.project_file("shop").write_text(text + source)
    past = home.project_file("shop").stat().st_mtime - 3600
    os.utime(home.project_file("shop"), (past, past))
    return Project.load(home.project_file("shop"))


def inbox(home: Home) -> list[str]:
    return sorted(path.name for path in home.inbox("shop").iterdir())


def ingest(home: Home, state: State, project: Project) -> list[tuple[str, str]]:
    return [(file.name, file.status) for file in ingest_pending(home, state, project).files]


def test_a_file_of_every_kind_is_taken_once(world, look_at, home: Home, state: State) -> None:
    world.put("a.csv", A)
    first, second, third = look_at(world), look_at(world), look_at(world)
    if type(world).__name__ == "S3World":  # an object is whole or not there
        assert (first.taken, second.known) == (["a.csv"], 1)
    else:
        assert (first.waiting, first.taken, second.taken) == (1, [], ["a.csv"])
    assert (third.state, third.taken, third.known) == ("ok", [], 1)
    (landed,) = inbox(home)
    assert (home.inbox("shop") / landed).read_bytes() == A
    assert landed.startswith("lab__")
    (record,) = ledger.list_files(state, "shop")
    assert (record["name"], record["origin"], record["status"]) == ("a.csv", world.source().kind, "received")


def test_a_source_of_every_kind_may_be_away_and_come_back(
    world, look_at, state: State, shop: Project
) -> None:
    project = shop.model_copy(update={"sources": [world.source()]})
    world.put("a.csv", A)
    look_at(world)
    look_at(world)
    world.go()
    try:
        away = look_at(world)
        assert away.state == "away"
        assert away.error is not None
        assert away.error["remedy"]
        (shown,) = overview(state, project)
        since = shown["since"]
        assert (shown["state"], shown["taken"], shown["error"]) == ("away", 1, away.error)
        look_at(world)
        assert overview(state, project)[0]["since"] == since
    finally:
        world.come_back()
    world.put("a.csv", A)
    world.put("b.csv", B)
    looks = [look_at(world), look_at(world)]
    assert [name for found in looks for name in found.taken] == ["b.csv"]
    (shown,) = overview(state, project)
    assert (shown["state"], shown["error"], shown["taken"]) == ("ok", None, 2)


def test_what_is_taken_becomes_rows_and_the_manifest_names_its_origin(
    fake, look_at, home: Home, state: State, watched: Project
) -> None:
    fake.put("deep name.csv", A)
    look_at(fake)
    look_at(fake)
    assert ingest(home, state, watched) == [("deep name.csv", "accepted")]
    (source,) = TableStore(home.tables("shop")).require("raw").sources
    assert source["origin"] == {"kind": "share", "source": "lab", "name": "deep name.csv"}
    assert look_at(fake).known == 1
    assert inbox(home) == []


def test_a_file_that_grows_while_it_is_looked_at_is_not_taken(fake, look_at, home: Home) -> None:
    for length in range(1, 6):
        fake.put("a.csv", A[: 20 * length])
        found = look_at(fake)
        assert (found.taken, found.waiting) == ([], 1)
    assert inbox(home) == []
    fake.put("a.csv", A)
    look_at(fake)
    assert look_at(fake).taken == ["a.csv"]


def test_two_looks_in_a_moment_do_not_make_a_file_settled(fake, look_at) -> None:
    fake.put("a.csv", A)
    look_at(fake)
    assert look_at(fake, seconds=0.5).waiting == 1
    assert look_at(fake, seconds=5.0).taken == ["a.csv"]


def test_a_file_that_changes_while_it_is_copied_is_left_for_later(
    fake, look_at, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.put("a.csv", A)
    look_at(fake)
    write = Arrival.write

    def meddled(self: Arrival, data: bytes, /) -> int:
        fake.put("a.csv", B)
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Arrival, "write", meddled)
        found = look_at(fake)
    assert (found.taken, found.waiting, inbox(home)) == ([], 1, [])
    look_at(fake)
    assert look_at(fake).taken == ["a.csv"]
    (landed,) = inbox(home)
    assert (home.inbox("shop") / landed).read_bytes() == B


def test_a_marker_alone_says_that_a_file_is_whole(fake, look_at, home: Home) -> None:
    source = fake.source("*", marker=".done")
    fake.put("a.csv", A)
    for _ in range(3):
        assert look_at(fake, source).waiting == 1
    fake.put("a.csv.done", b"")
    assert look_at(fake, source).taken == ["a.csv"]
    assert len(inbox(home)) == 1


def test_the_same_bytes_under_another_name_or_time_are_not_taken_again(
    fake, look_at, home: Home, state: State, watched: Project
) -> None:
    fake.put("a.csv", A)
    look_at(fake)
    look_at(fake)
    fake.put("copy.csv", A)
    fake.put("a.csv", A)  # touched
    look_at(fake)
    found = look_at(fake)
    assert (found.taken, found.known) == ([], 2)
    assert len(inbox(home)) == 1
    assert ingest(home, state, watched) == [("a.csv", "accepted")]
    fake.put("another.csv", A)
    look_at(fake)
    assert look_at(fake).taken == []


def test_a_file_that_is_changed_in_place_is_a_new_file(fake, look_at, home: Home) -> None:
    for data in (A, B):
        fake.put("a.csv", data)
        look_at(fake)
        assert look_at(fake).taken == ["a.csv"]
    assert {(home.inbox("shop") / name).read_bytes() for name in inbox(home)} == {A, B}


def test_a_restart_between_two_looks_changes_nothing(fake, look_at, state: State) -> None:
    fake.put("a.csv", A)
    look_at(fake)
    state.engine.dispose()  # what is remembered is on disk
    assert look_at(fake).taken == ["a.csv"]
    state.engine.dispose()
    assert look_at(fake).known == 1


@pytest.mark.parametrize("step", ["note_landing", "receive", "place", "note_taken"])
@pytest.mark.parametrize("is_ingested", [False, True])
def test_a_kill_at_any_step_neither_loses_nor_doubles_a_file(
    step: str,
    is_ingested: bool,
    fake,
    look_at,
    home: Home,
    state: State,
    watched: Project,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killed(BaseException):
        """Ends the look as a kill does: nothing catches it."""

    def kill(*_: object, **__: object) -> None:
        raise Killed

    place: tuple[object, str] = {
        "note_landing": (Memory, "note_landing"),
        "receive": (ledger, "receive"),
        "place": (Arrival, "place"),
        "note_taken": (Memory, "note_taken"),
    }[step]
    fake.put("a.csv", A)
    look_at(fake)
    with monkeypatch.context() as patch:
        patch.setattr(*place, kill)
        with pytest.raises(Killed):
            look_at(fake)
    outcomes = ingest(home, state, watched) if is_ingested else []
    look_at(fake)
    look_at(fake)
    outcomes += ingest(home, state, watched)
    assert outcomes == [("a.csv", "accepted")]
    assert TableStore(home.tables("shop")).require("raw").rows == 1
    assert look_at(fake).known == 1


def test_what_a_killed_look_left_aside_is_removed(fake, look_at, home: Home) -> None:
    left = home.inbox("shop") / ".fetching-lab__0123"
    left.write_bytes(b"half")
    other = home.inbox("shop") / ".fetching-lab_two__0123"
    other.write_bytes(b"somebody else's")
    look_at(fake)
    assert (left.exists(), other.exists()) == (False, True)


def test_a_denied_file_is_a_problem_of_its_own(fake, look_at) -> None:
    fake.put("a.csv", A)
    fake.put("b.csv", B)
    fake.deny("a.csv")
    look_at(fake)
    found = look_at(fake)
    assert (found.state, found.taken) == ("ok", ["b.csv"])
    assert [problem["name"] for problem in found.problems] == ["a.csv"]
    fake.denied.clear()
    assert look_at(fake).taken == ["a.csv"]


def test_a_file_that_vanishes_between_list_and_open_is_no_fault(
    fake, look_at, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.put("a.csv", A)
    fake.put("b.csv", B)
    look_at(fake)
    connected = fake.connect

    def vanishing(*arguments: object):
        source = connected(*arguments)
        find = source.find

        def find_and_lose():
            found = find()
            fake.remove("a.csv")
            return found

        monkeypatch.setattr(source, "find", find_and_lose)
        return source

    with monkeypatch.context() as patch:
        patch.setattr(fake, "connect", vanishing)
        found = look_at(fake)
    assert (found.state, found.taken, found.problems) == ("ok", ["b.csv"], [])


def test_two_projects_take_from_one_share_each_for_itself(fake, look_at, home: Home, shop: Project) -> None:
    other = shop.model_copy(update={"name": "other"})
    file = home.project_file("other")
    file.parent.mkdir()
    file.write_text(home.project_file("shop").read_text().replace("name: shop", "name: other"))
    fake.put("a.csv", A)
    look_at(fake)
    look_at(fake)
    look_at(fake, project=other)
    assert look_at(fake, project=other).taken == ["a.csv"]
    assert len(list(home.inbox("other").iterdir())) == 1


@pytest.mark.parametrize(
    "name",
    ["..", ".hidden.csv", "x.csv.part", "../../../etc/evil.csv", "a\x00b\x1b[31m\n.csv", "ä" * 300 + ".csv"],
)
def test_no_name_of_a_source_becomes_a_path(name: str, fake, look_at, home: Home, tmp_path: Path) -> None:
    """Whatever a server claims to have: only plain names in the inbox."""
    found = fetch.Found(name, None, len(A), "1:1:", is_ready=True)

    class Lying(fetch.Source):
        def find(self):
            return [found]

        def pour(self, found, sink):
            from tidemill.data.sources.source import Poured, shown

            sink.write(A)
            return Poured(shown(found.name))

        def close(self):
            pass

    before = sorted(tmp_path.rglob("*evil*"))
    fake.connect = lambda *_: Lying()
    look_at(fake)
    assert sorted(tmp_path.rglob("*evil*")) == before or all(
        path.parent == home.inbox("shop") for path in tmp_path.rglob("*evil*")
    )
    for landed in inbox(home):
        assert landed.startswith("lab__")
        assert landed.isascii()
        assert landed.isprintable()
        assert len(landed) < 160
    if name in ("..", ".hidden.csv", "x.csv.part"):
        assert inbox(home) == []
    else:
        assert len(inbox(home)) == 1


def test_a_file_above_the_limit_is_not_copied(fake, look_at) -> None:
    fake.put("a.csv", b"x" * 5000)
    fake.put("b.csv", B)
    look_at(fake, max_fetch_bytes=4000)
    found = look_at(fake, max_fetch_bytes=4000)
    assert found.taken == ["b.csv"]
    assert "TIDEMILL_MAX_FETCH_BYTES" in found.problems[0]["remedy"]
    assert look_at(fake, max_fetch_bytes=6000).taken == ["a.csv"]


def test_more_bytes_than_were_announced_are_cut_off_at_the_limit(fake, look_at, home: Home) -> None:
    fake.put("a.csv", A)
    look_at(fake)
    connected = fake.connect

    def endless(*arguments):
        source = connected(*arguments)

        def pour(_, sink):
            while True:
                sink.write(b"x" * 1000)

        source.pour = pour
        return source

    fake.connect = endless
    found = look_at(fake, max_fetch_bytes=50_000)
    assert (found.taken, len(found.problems), inbox(home)) == ([], 1, [])


def test_a_refused_file_is_tried_again_once_the_contract_has_changed(
    fake, look_at, home: Home, state: State, watched: Project
) -> None:
    fake.put("a.csv", BAD)
    look_at(fake)
    look_at(fake)
    assert ingest(home, state, watched) == [("a.csv", "refused")]
    assert look_at(fake).known == 1
    file = home.project_file("shop")
    loose = file.read_text().replace("max_share: 0.5", "max_share: 1.0")
    file.write_text(loose)
    os.utime(file, (file.stat().st_mtime + 60,) * 2)
    assert look_at(fake).taken == ["a.csv"]
    assert look_at(fake).known == 1


def test_a_refused_file_is_not_lost_when_the_second_try_is_killed(
    fake, look_at, home: Home, state: State, watched: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.put("a.csv", BAD)
    look_at(fake)
    look_at(fake)
    ingest(home, state, watched)
    os.utime(home.project_file("shop"), (home.project_file("shop").stat().st_mtime + 7200,) * 2)

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Arrival, "place", kill)
        with pytest.raises(KeyboardInterrupt):
            look_at(fake)
    assert look_at(fake).taken == ["a.csv"]


def test_only_one_look_at_a_source_is_under_way(fake, look_at, home: Home) -> None:
    with locked(home.store("shop") / "source-lab.lock"), pytest.raises(NotReady, match="busy"):
        look_at(fake)


def test_the_inbox_takes_landed_files_whatever_its_own_pattern(
    fake, look_at, home: Home, shop: Project, drop: Callable[..., Path]
) -> None:
    fake.put("a.csv", A)
    look_at(fake)
    look_at(fake)
    drop("b.txt")
    project = shop.model_copy(update={"sources": [InboxSource(pattern="*.xlsx"), fake.source()]})
    assert [path.name for path in ledger.pending_files(home, project)] == inbox(home)[1:]


def test_a_lost_connection_keeps_what_was_taken_before(fake, look_at) -> None:
    fake.put("a.csv", A)
    fake.put("b.csv", B)
    look_at(fake)
    connected = fake.connect

    def breaking(*arguments):
        source = connected(*arguments)
        pour = source.pour

        def once(found, sink):
            if found.name == "b.csv":
                raise SourceAway("gone", detail="x", remedy="y")
            return pour(found, sink)

        source.pour = once
        return source

    fake.connect = breaking
    found = look_at(fake)
    assert (found.state, found.taken) == ("away", ["a.csv"])
    fake.connect = connected
    found = look_at(fake)
    assert (found.state, found.taken, found.known) == ("ok", ["b.csv"], 1)


def test_state_is_made_in_a_home_that_had_no_sources(home: Home) -> None:
    assert overview(open_state(home), Project.model_construct(name="shop", sources=[])) == []
