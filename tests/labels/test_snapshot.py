"""The label snapshot: which answers count, and the one label of each row."""

import numpy as np
import pandas as pd
import pytest

from tests.labels.conftest import annotation
from tidemill.errors import InvalidInput
from tidemill.labels import ledger
from tidemill.labels.backend import Annotation, LabelTask
from tidemill.labels.snapshot import Snapshot, annotations_frame, digest_of, label_snapshot
from tidemill.project import Column, Labels, Project
from tidemill.store.state import State

AT = "2026-05-01T00:00:00.000+00:00"


def project(task: str = "binary", **labels: object) -> Project:
    kind = "float" if task == "regression" else "category"
    columns = {"x": Column(type="float"), "y": Column(type=kind, role="target")}
    settings = Labels.model_validate({"kind": "built-in", **labels})
    return Project(name="p", task=task, columns=columns, labels=settings)


def raw(**cells: object) -> pd.DataFrame:
    return pd.DataFrame({"_row": list(cells), "x": 1.0, "y": list(cells.values())})


def ask(state: State, reason: str, *rows: str, annotators: int = 1) -> None:
    tasks = [LabelTask(row, {"x": 1.0}, reason=reason, annotators=annotators) for row in rows]
    ledger.record_tasks(state, "p", "built-in", tasks, {row: row for row in rows}, 1)


def say(state: State, who: str, source: str = "built-in", **labels: object) -> None:
    given: list[Annotation] = [
        annotation(f"{who}|{row}", row, label, annotator=who, lead_seconds=2.0)  # type: ignore[arg-type]
        for row, label in labels.items()
    ]
    ledger.write(state, "p", source, given)


def snapshot(state: State, rows: pd.DataFrame, described: Project) -> Snapshot:
    return label_snapshot(rows, described, 4, at=AT, annotations=annotations_frame(state, described))


def labels(found: Snapshot) -> dict[str, object]:
    return dict(zip(found.labels["_row"], found.labels["label"], strict=True))


def test_the_column_and_people_come_together(state: State) -> None:
    ask(state, "uncertain", "r2", "r3")
    say(state, "ada", r2="yes", r3=None)
    found = snapshot(state, raw(r1="no", r2=None, r3=None), project())
    assert labels(found) == {"r1": "no", "r2": "yes"}
    column, person = found.labels.to_dict("records")
    assert (column["origin"], column["annotator"], column["consolidation"]) == (
        "column",
        "column:y",
        "column",
    )
    assert np.isnan(column["confidence"])
    assert person["annotator"] == "ada"
    assert (person["origin"], person["confidence"], person["answers"], person["lead_seconds"]) == (
        "manual",
        1.0,
        1,
        2.0,
    )
    assert set(found.labels["raw_version"]) == {4}
    assert found.counts(3) == {
        "labelled": 2, "by_people": 1, "unlabelled": 1, "undecided": 0, "waiting": 0, "in_review": 0,
        "no_longer_in_the_data": 0, "classes": {"no": 1, "yes": 1},
    }  # fmt: skip


def test_a_row_waits_for_as_many_people_as_were_wanted(state: State) -> None:
    ask(state, "uncertain", "r1", "r2", annotators=2)
    say(state, "ada", r1="yes", r2="yes")
    say(state, "bob", r1="yes")
    found = snapshot(state, raw(r1=None, r2=None), project(annotators=2))
    assert labels(found) == {"r1": "yes"}
    assert found.waiting == ["r2"]


def test_a_tie_has_no_label_until_one_more_person_decides(state: State) -> None:
    ask(state, "uncertain", "r1", annotators=2)
    say(state, "ada", r1="yes")
    say(state, "bob", r1="no")
    assert snapshot(state, raw(r1=None), project(annotators=2)).undecided == ["r1"]
    ask(state, "disagreement", "r1", annotators=3)
    assert snapshot(state, raw(r1=None), project(annotators=2)).waiting == ["r1"]
    say(state, "cyd", r1="no")
    found = snapshot(state, raw(r1=None), project(annotators=2))
    assert labels(found) == {"r1": "no"}
    assert found.labels["confidence"][0] == pytest.approx(2 / 3)
    assert found.labels["annotator"][0] == "ada, bob, cyd"


def test_gold_answers_change_no_label_and_a_second_look_does(state: State) -> None:
    ask(state, "gold", "r1")
    ask(state, "suspect", "r2")
    say(state, "ada", r1="yes", r2="yes")
    assert labels(snapshot(state, raw(r1="no", r2="no"), project())) == {"r1": "no", "r2": "yes"}


def test_a_suspect_label_stands_until_its_second_look_is_over(state: State) -> None:
    rows = raw(r1=None, r2="no")
    ask(state, "uncertain", "r1")
    say(state, "ada", r1="yes")
    sure = snapshot(state, rows, project()).labels.set_index("_row")
    assert not sure["in_review"].any()
    ask(state, "suspect", "r1", "r2", annotators=2)
    found = snapshot(state, rows, project())
    doubted = found.labels.set_index("_row")
    assert labels(found) == {"r1": "yes", "r2": "no"}
    assert (doubted["in_review"]["r1"], doubted["in_review"]["r2"], found.waiting) == (True, False, [])
    assert doubted["confidence"]["r1"] == sure["confidence"]["r1"] / 2
    assert found.counts(2)["in_review"] == 1
    say(state, "bob", r1="yes", r2="yes")  # one of two: the column's label of r2 stands
    after = snapshot(state, rows, project())
    assert labels(after) == {"r1": "yes", "r2": "no"}
    assert (after.in_review, after.waiting) == (0, ["r2"])
    assert after.labels.set_index("_row")["confidence"]["r1"] == sure["confidence"]["r1"]


def test_dawid_skene_learns_from_gold_rows_whom_to_believe(state: State) -> None:
    cells = {f"g{index}": "yes" if index % 2 else "no" for index in range(12)}
    wrong = {"yes": "no", "no": "yes"}
    ask(state, "gold", *cells, annotators=3)
    ask(state, "uncertain", "r1", "r2", annotators=3)
    say(state, "knows", **cells, r1="yes", r2="no")
    for who in ("errs", "errs too"):
        say(state, who, **{row: wrong[label] for row, label in cells.items()}, r1="no", r2="yes")
    rows = raw(**cells, r1=None, r2=None)
    vote = labels(snapshot(state, rows, project(annotators=3)))
    model = labels(snapshot(state, rows, project(annotators=3, consolidation="dawid-skene")))
    assert (vote["r1"], vote["r2"]) == ("no", "yes")
    assert (model["r1"], model["r2"]) == ("yes", "no")


def test_numbers_have_their_middle_and_spread(state: State) -> None:
    ask(state, "uncertain", "r2", annotators=2)
    say(state, "ada", r2=2.0)
    say(state, "bob", r2=5.0)
    found = snapshot(state, raw(r1=1.0, r2=None), project("regression", annotators=2))
    assert labels(found) == {"r1": 1.0, "r2": 3.5}
    assert found.labels["spread"].tolist()[1] == 1.5
    assert found.labels["label"].dtype == "float64"


def test_a_person_counts_once_whatever_they_answered_in(state: State) -> None:
    ask(state, "uncertain", "r1", annotators=2)
    say(state, "ada", r1="yes")
    later = annotation("7", "r1", "no", updated_at="2026-06-01T00:00:00+00:00")
    ledger.write(state, "p", "label-studio:1", [later])
    found = snapshot(state, raw(r1=None), project(annotators=2))
    assert found.waiting == ["r1"]
    ask(state, "uncertain", "r1", annotators=2)
    say(state, "bob", r1="no")
    assert labels(snapshot(state, raw(r1=None), project(annotators=2))) == {"r1": "no"}


def test_deleted_and_unusable_answers_stay_in_the_table_of_answers_alone(state: State) -> None:
    say(state, "ada", r1="yes", r2="yes", r3=None)
    ledger.delete(state, "p", "built-in", ["ada|r2"])
    found = annotations_frame(state, project())
    assert list(found["status"]) == ["label", "deleted", "skipped"]
    assert labels(snapshot(state, raw(r1=None, r2=None), project())) == {"r1": "yes"}


def test_answers_about_rows_that_are_gone_are_told(state: State) -> None:
    say(state, "ada", r9="yes")
    found = snapshot(state, raw(r1="no"), project())
    assert (labels(found), found.strangers) == ({"r1": "no"}, ["r9"])


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_no_label_at_all_is_an_empty_table_of_the_same_shape(state: State, task: str) -> None:
    empty = snapshot(state, raw(r1=None), project(task)).labels
    some = snapshot(state, raw(r1=2.0 if task == "regression" else "no"), project(task)).labels
    assert len(empty) == 0
    assert list(empty.dtypes) == list(some.dtypes)
    assert list(empty.columns) == list(some.columns)


def test_an_empty_column_is_refused_where_nobody_can_be_asked() -> None:
    with pytest.raises(InvalidInput, match="No row has a label"):
        label_snapshot(raw(r1=None), project(kind="column"), 1, at=AT)


def test_equal_tables_have_equal_digests_and_others_do_not(state: State) -> None:
    say(state, "ada", r1="yes", r2=None)
    one, same = annotations_frame(state, project()), annotations_frame(state, project())
    assert digest_of(one) == digest_of(same)
    say(state, "ada", r2="no")
    assert digest_of(annotations_frame(state, project())) != digest_of(one)
    assert digest_of(one.iloc[:0]) != digest_of(one)
