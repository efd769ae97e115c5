from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tidemill.errors import InvalidInput
from tidemill.project import Project
from tidemill.serve.record import CheckedRecord, RecordContract

TEXT = """\
name: pets
task: binary
columns:
  pet_id: {type: string, role: id}
  kind: {type: category, values: [cat, dog]}
  weight: {type: float, min: 0, max: 100, nulls: false}
  age: {type: integer}
  chipped: {type: boolean}
  born: {type: date}
  seen: {type: datetime}
  note: {type: text}
  keeper: {type: string, role: ignore}
  sick: {type: category, role: target, values: ["no", "yes"]}
"""
GOOD = {"kind": "cat", "weight": 4, "age": 3, "chipped": True, "born": "2020-02-29", "note": "calm"}


def contract(**serving: str) -> RecordContract:
    project = Project.parse(TEXT, Path("pets/project.yaml"))
    return RecordContract(project.model_copy(update={"serving": project.serving.model_copy(update=serving)}))


def accepted(record: object, **serving: str) -> CheckedRecord:
    found = contract(**serving).check(record)
    assert isinstance(found, CheckedRecord), found
    return found


def fault(record: object, **serving: str) -> str:
    found = contract(**serving).check(record)
    assert isinstance(found, list), found
    return f"{found[0].field}: {found[0].message} ({found[0].found})"


def test_values_are_typed_in_the_contracts_order_and_absent_ones_are_null() -> None:
    found = accepted({**GOOD, "seen": "2026-04-30T16:05:00+02:00"})
    assert list(found.values) == ["kind", "weight", "age", "chipped", "born", "seen", "note"]
    assert found.values["weight"] == 4.0
    assert isinstance(found.values["weight"], float)
    assert found.values["born"] == date(2020, 2, 29)
    assert found.values["seen"] == datetime(2026, 4, 30, 14, 5, tzinfo=UTC)
    assert found.input["seen"] == "2026-04-30T14:05:00Z"
    assert found.input["born"] == "2020-02-29"
    assert accepted({"weight": 1}).values["age"] is None


def test_what_is_no_feature_is_kept_aside_and_the_id_becomes_the_entity() -> None:
    found = accepted({**GOOD, "pet_id": 17, "sick": "yes", "keeper": "Ada"})
    assert found.entity_id == "17"
    assert found.aside == {"pet_id": 17, "sick": "yes", "keeper": "Ada"}
    assert "sick" not in found.values


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({**GOOD, "weigth": 1}, "weigth: the project has no such column; did you mean weight? (1)"),
        ({**GOOD, "_row": 1}, "_row: the project has no such column"),
        ({**GOOD, "weight": "4"}, "weight: it must be a number, without quotes ('4')"),
        ({**GOOD, "weight": True}, "weight: it must be a number, without quotes (true)"),
        ({**GOOD, "weight": float("nan")}, "weight: it must be a finite number"),
        ({**GOOD, "weight": 10**400}, "weight: the number is too large (a very large number)"),
        ({**GOOD, "weight": None}, "weight: a value is required (nothing)"),
        ({"kind": "cat"}, "weight: a value is required (nothing)"),
        ({**GOOD, "age": 2.5}, "age: it must be a whole number"),
        ({**GOOD, "age": 2**63}, "age: the number does not fit into 64 bits"),
        ({**GOOD, "chipped": 1}, "chipped: it must be true or false"),
        ({**GOOD, "chipped": "true"}, "chipped: it must be true or false"),
        ({**GOOD, "kind": 3}, "kind: it must be a text"),
        ({**GOOD, "note": "a\ud800"}, "note: the text holds half of a surrogate pair"),
        ({**GOOD, "born": "2021-02-29"}, "born: there is no such day"),
        ({**GOOD, "born": "29.02.2020"}, "born: it must be a date"),
        ({**GOOD, "born": "20200229"}, "born: it must be a date"),
        ({**GOOD, "seen": "yesterday"}, "seen: it must be a time"),
        ({**GOOD, "seen": "0001-01-01T00:00:00+23:00"}, "seen: there is no such moment"),
        ({**GOOD, "note": ["a"]}, "note: it must be a text, in quotes (a list)"),
        ({**GOOD, "pet_id": 1.5}, "pet_id: an id is a text or a whole number"),
        ([1], ": a record is an object of field names and values (a list)"),
        (None, ": a record is an object of field names and values (null)"),
    ],
)
def test_a_fault_names_field_value_and_what_is_wanted(record: object, message: str) -> None:
    assert fault(record).startswith(message)


def test_whole_floats_are_taken_for_integers_and_integers_for_floats() -> None:
    assert accepted({**GOOD, "age": 3.0}).values["age"] == 3


def test_odd_values_are_flagged_or_refused_as_the_project_says() -> None:
    odd = {**GOOD, "kind": "axolotl", "weight": 1000}
    assert accepted(odd).flags == [
        {"field": "kind", "problem": "unknown_category", "action": "flagged"},
        {"field": "weight", "problem": "out_of_range", "action": "flagged"},
    ]
    assert accepted(odd).values["kind"] == "axolotl"
    assert fault(odd, unknown_categories="reject") == "kind: it must be one of cat, dog ('axolotl')"
    assert fault(odd, out_of_range="reject") == "weight: it must not be above 100 (1000)"


def test_odd_values_can_count_as_missing_and_the_flag_keeps_them() -> None:
    found = accepted(
        {**GOOD, "kind": "axolotl", "weight": 1000}, unknown_categories="impute", out_of_range="impute"
    )
    assert (found.values["kind"], found.values["weight"]) == (None, None)
    assert found.flags == [
        {"field": "kind", "problem": "unknown_category", "action": "imputed", "found": "'axolotl'"},
        {"field": "weight", "problem": "out_of_range", "action": "imputed", "found": "1000"},
    ]


# What becomes of a record without `age` (may be null) or without `weight` (may not).
@pytest.mark.parametrize(
    ("policy", "lacks", "becomes"),
    [
        ("allow", "age", "taken"),
        ("allow", "weight", "refused"),
        ("reject", "age", "refused"),
        ("reject", "weight", "refused"),
        ("flag", "age", "flagged"),
        ("flag", "weight", "refused"),
        ("impute", "age", "imputed"),
        ("impute", "weight", "imputed"),
    ],
)
def test_missing_fields_follow_the_policy(policy: str, lacks: str, becomes: str) -> None:
    full = dict.fromkeys(contract()._features) | GOOD
    record = {name: value for name, value in full.items() if name != lacks}
    if becomes == "refused":
        assert fault(record, missing_fields=policy).startswith(f"{lacks}: ")
        return
    found = accepted(record, missing_fields=policy)
    assert found.values[lacks] is None
    flag = {"field": lacks, "problem": "missing_field", "action": becomes}
    assert found.flags == ([] if becomes == "taken" else [flag])


def test_a_null_is_no_missing_field_where_the_contract_allows_it() -> None:
    full = dict.fromkeys(contract()._features) | GOOD
    for policy in ("allow", "reject", "flag", "impute"):
        assert accepted(full, missing_fields=policy).flags == []
    assert fault(full | {"weight": None}, missing_fields="flag") == "weight: a value is required (nothing)"
    assert accepted(full | {"weight": None}, missing_fields="impute").flags == [
        {"field": "weight", "problem": "missing_field", "action": "imputed"}
    ]


def test_extra_fields_can_be_left_out() -> None:
    found = accepted({**GOOD, "colour": "red" * 50, "pet_id": 3}, extra_fields="flag")
    (flag,) = found.flags
    assert (flag["field"], flag["problem"], flag["action"]) == ("colour", "extra_field", "ignored")
    assert len(flag["found"]) == 60
    assert found.aside == {"pet_id": 3}


def test_names_are_guessed_for_a_few_unknown_fields_only() -> None:
    found = contract().check_each([{**GOOD, f"weigt{n}": 1} for n in range(20)] + [{"weight" * 50: 1}])
    messages = [faults[0].message for faults in found if isinstance(faults, list)]
    assert ["did you mean weight?" in message for message in messages] == [True] * 5 + [False] * 16


def test_all_faults_of_all_records_are_listed() -> None:
    with pytest.raises(InvalidInput, match="2 of 3 records") as caught:
        contract().check_all([GOOD, {"weight": "x", "age": "y"}, 5])
    assert [(one["record"], one["field"]) for one in caught.value.extra["faults"]] == [
        (1, "weight"),
        (1, "age"),
        (2, ""),
    ]
    assert caught.value.extra["faults_total"] == 3
