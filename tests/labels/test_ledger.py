"""The ledger of labelling: no answer lost, none doubled, and every state it was in kept."""

import sqlite3
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from tests.labels.conftest import ToldBackend, annotation
from tidemill.errors import Conflict, InvalidInput
from tidemill.labels import ledger
from tidemill.labels.backend import LabelTask, Pull, Suggestion, UnusableAnswer
from tidemill.store.state import State, label_annotations

LATER = "2026-05-02T10:00:00.000+00:00"


def labels(state: State) -> dict[str, object]:
    return {answer.id: answer.label for answer in ledger.answers(state, "p") if answer.is_live}


def test_a_sync_takes_what_is_new_and_goes_on_from_there(state: State) -> None:
    backend = ToldBackend(
        Pull([annotation("1", "r1", "yes"), annotation("2", "r2", None)], cursor="a"),
        Pull([annotation("3", "r3", 2.5)], cursor="b"),
    )
    assert ledger.sync(state, "p", backend) == ledger.Synced(new=2)
    assert ledger.sync(state, "p", backend) == ledger.Synced(new=1)
    assert ledger.sync(state, "p", backend) == ledger.Synced()
    assert backend.cursors == ["", "a", "b"]
    assert labels(state) == {"1": "yes", "2": None, "3": 2.5}


def test_the_same_answers_again_change_nothing(state: State) -> None:
    same = Pull([annotation("1", "r1", "yes"), annotation("2", "r2", "no")], ["9"])
    assert ledger.sync(state, "p", ToldBackend(same)).changes == 2
    before = ledger.answers(state, "p")
    assert ledger.sync(state, "p", ToldBackend(same)) == ledger.Synced(unchanged=3)
    assert ledger.answers(state, "p") == before


def test_an_edit_keeps_what_was_said_before(state: State) -> None:
    ledger.sync(state, "p", ToldBackend(Pull([annotation("1", "r1", "yes")])))
    edit = annotation("1", "r1", "no", updated_at="2026-05-02T12:00:00+02:00")
    assert ledger.sync(state, "p", ToldBackend(Pull([edit]))) == ledger.Synced(edited=1)
    kept = ledger.revisions(state, "p", "told", "1")
    assert [(row["revision"], row["label"]) for row in kept] == [(1, "yes"), (2, "no")]
    assert ledger.answers(state, "p")[0].updated_at == LATER


def test_an_older_state_that_comes_late_does_not_win(state: State) -> None:
    ledger.sync(state, "p", ToldBackend(Pull([annotation("1", "r1", "no", updated_at=LATER)])))
    late = Pull([annotation("1", "r1", "yes")])
    assert ledger.sync(state, "p", ToldBackend(late)) == ledger.Synced(unchanged=1)
    assert labels(state) == {"1": "no"}


def test_a_deleted_answer_is_marked_and_may_come_back(state: State) -> None:
    given = annotation("1", "r1", "yes")
    ledger.sync(state, "p", ToldBackend(Pull([given])))
    assert ledger.sync(state, "p", ToldBackend(Pull(deleted=["1", "1", "unknown"]))).deleted == 1
    assert labels(state) == {}
    assert ledger.answers(state, "p")[0].label == "yes"
    ledger.sync(state, "p", ToldBackend(Pull([given])))
    assert labels(state) == {"1": "yes"}
    assert len(ledger.revisions(state, "p", "told", "1")) == 3


def test_an_unusable_answer_is_kept_until_it_is_mended(state: State) -> None:
    told = Pull(unusable=[UnusableAnswer("1", "r1", "ada", "no choice was made: open the task and choose")])
    assert ledger.sync(state, "p", ToldBackend(told)).unusable == 1
    assert ledger.sync(state, "p", ToldBackend(told)) == ledger.Synced(unchanged=1)
    (kept,) = ledger.answers(state, "p")
    assert (kept.is_live, kept.problem) == (False, "no choice was made: open the task and choose")
    # Its time is older than that of the note, which is ours.
    assert ledger.sync(state, "p", ToldBackend(Pull([annotation("1", "r1", "yes")]))).edited == 1
    assert labels(state) == {"1": "yes"}


def test_a_crash_while_writing_leaves_answers_and_cursor_as_they_were(state: State) -> None:
    wanted = Pull([annotation(str(number), f"r{number}", "yes") for number in range(5)], cursor="a")
    backend = ToldBackend(wanted, wanted)

    def die_at_the_third(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(
            "CREATE TEMP TRIGGER IF NOT EXISTS die BEFORE INSERT ON main.label_annotations "
            "WHEN NEW.id = '3' BEGIN SELECT RAISE(ABORT, 'killed'); END"
        )

    sa.event.listen(state.engine, "checkout", die_at_the_third)
    with pytest.raises((OperationalError, sa.exc.IntegrityError)):
        ledger.sync(state, "p", backend)
    sa.event.remove(state.engine, "checkout", die_at_the_third)
    state.engine.dispose()
    assert ledger.answers(state, "p") == []
    assert ledger.sync(state, "p", backend) == ledger.Synced(new=5)
    assert backend.cursors == ["", ""]


def test_of_two_syncs_at_once_the_second_asks_again(state: State) -> None:
    class Overtaken(ToldBackend):
        def pull(self, cursor: str = "") -> Pull:
            if len(self.cursors) == 0:
                self.cursors.append(cursor)
                ledger.sync(state, "p", ToldBackend(Pull(deleted=["1"], cursor="newer")))
                return Pull([annotation("1", "r1", "yes")], cursor="older")
            return super().pull(cursor)

    ledger.sync(state, "p", ToldBackend(Pull([annotation("1", "r1", "yes")], cursor="first")))
    backend = Overtaken()
    assert ledger.sync(state, "p", backend) == ledger.Synced()
    assert backend.cursors == ["first", "newer"]
    assert labels(state) == {}


def test_a_sync_that_is_overtaken_for_ever_says_so(state: State) -> None:
    class AlwaysOvertaken(ToldBackend):
        def pull(self, cursor: str = "") -> Pull:
            ledger.sync(state, "p", ToldBackend())
            return Pull(cursor=cursor)

    with pytest.raises(Conflict, match="taken over"):
        ledger.sync(state, "p", AlwaysOvertaken())


def test_many_threads_write_every_answer_once(state: State) -> None:
    def answer_all(who: str) -> None:
        for number in range(10):
            ledger.write(state, "p", "built-in", [annotation(f"{who}|{number}", f"r{number}", "yes")])

    threads = [threading.Thread(target=answer_all, args=(who,)) for who in ("ada", "bob", "cyd")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = ledger.answers(state, "p")
    assert len(found) == 30
    assert [answer.change for answer in found] == list(range(1, 31))


def test_sources_keep_their_ids_apart(state: State) -> None:
    ledger.sync(state, "p", ToldBackend(Pull([annotation("1", "r1", "yes")])))
    ledger.write(state, "p", "built-in", [annotation("1", "r2", "no")])
    ledger.write(state, "q", "built-in", [annotation("1", "r3", "no")])
    assert {(each.source, each.row) for each in ledger.answers(state, "p")} == {
        ("told", "r1"),
        ("built-in", "r2"),
    }
    assert [each.row for each in ledger.answers(state, "p", "told")] == ["r1"]


def test_a_row_that_is_asked_about_again_is_one_task(state: State) -> None:
    first = LabelTask("r1", {"x": 1.5}, Suggestion("yes", 0.6, 3), "uncertain", 2)
    ledger.record_tasks(state, "p", "told", [first, LabelTask("r2", {"x": None})], {"r1": "7", "r2": "8"}, 1)
    again = LabelTask("r1", {"x": 1.5}, reason="disagreement", annotators=1)
    ledger.record_tasks(state, "p", "told", [again, again], {"r1": "7"}, 2)
    one, two = sorted(ledger.tasks(state, "p"), key=lambda task: task.row)
    assert (one.reason, one.round, one.annotators, one.task_id) == ("disagreement", 2, 2, "7")
    assert (two.reason, two.round, two.fields) == ("random", 1, {"x": None})


def test_a_task_that_nobody_was_given_is_refused(state: State) -> None:
    with pytest.raises(InvalidInput, match="Nobody was asked"):
        ledger.task(state, "p", "told", "r9")


def test_a_time_that_is_none_is_said(state: State) -> None:
    with pytest.raises(InvalidInput, match="no usable time"):
        ledger.write(state, "p", "built-in", [annotation("1", "r1", "yes", updated_at="yesterday")])
    assert state.rows(sa.select(label_annotations)) == []
