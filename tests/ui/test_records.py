from typing import Any

import pytest

from tidemill.client_types import ColumnInfo, Prediction
from ui.components import records


def column(name: str, kind: str, **members: Any) -> ColumnInfo:
    usual: dict[str, Any] = {"role": "feature", "nulls": True, "min": None, "max": None, "values": None}
    return {"name": name, "type": kind, "description": "", **usual, **members}  # type: ignore[typeddict-item]


COLUMNS = [column("n", "integer"), column("x", "float"), column("b", "boolean"), column("c", "category")]


def test_rows_become_typed_records_and_blanks_none() -> None:
    found = records.read_csv("n;x;b;c\n3;1.5;yes;007\n;;;\n".encode("utf-8-sig"), COLUMNS)

    assert found == [
        {"n": 3, "x": 1.5, "b": True, "c": "007"},
        {"n": None, "x": None, "b": None, "c": None},
    ]


def test_what_fits_no_type_stays_text_for_the_api_to_refuse() -> None:
    found = records.read_csv(b"n,x,b\n3.5,many,perhaps\n", COLUMNS)

    assert found == [{"n": "3.5", "x": "many", "b": "perhaps"}]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"n,x\n", "no rows"),
        (b"n,x\n1,2,3\n", "Line 2"),
        (b"n,x\n1\n", "Line 2"),
        (b"n\n\xff\xfe\n", "UTF-8"),
    ],
)
def test_unreadable_files_say_why(content: bytes, says: str) -> None:
    with pytest.raises(records.UnreadableRecords, match=says):
        records.read_csv(content, COLUMNS)


@pytest.mark.parametrize("number", ["nan", "inf", "-Infinity"])
def test_numbers_that_json_has_not_stay_text(number: str) -> None:
    assert records.typed(number, "float") == number


@pytest.mark.parametrize(
    ("usual", "step"), [(None, 0.1), (0.0, 0.1), (17.5, 1.0), (2220.0, 100.0), (0.05, 0.001)]
)
def test_step_is_a_small_part_of_the_usual_value(usual: float | None, step: float) -> None:
    assert records.step_for(usual) == pytest.approx(step)


def test_usual_values() -> None:
    middle: Any = {"column": "n", "p50": 7.5}
    top: Any = {"column": "b", "top": [[None, 9], ["true", 5]]}

    assert records.default_value(COLUMNS[0], middle) == 8
    assert records.default_value(COLUMNS[1], middle) == 7.5
    assert records.default_value(COLUMNS[2], top) is True
    assert records.default_value(COLUMNS[3], top) == "true"
    assert records.default_value(COLUMNS[0], {"column": "n"}) is None


def test_answers_stand_beside_their_records_and_no_cell_is_a_formula() -> None:
    answer: Prediction = {
        "id": "p1",
        "label": "benign",
        "score": 0.1,
        "probabilities": {"benign": 0.9, "malignant": 0.1},
        "model_version": 2,
        "flags": [
            {"field": "n", "problem": "out_of_range", "action": "flagged"},
            {"field": "name", "problem": "unknown_category", "action": "imputed", "found": "'x'"},
        ],
        "at": "2026-11-23T10:00:00Z",
    }

    text = records.answers_csv([{"name": "=cmd()", "n": -3}], [answer])

    assert text.splitlines() == [
        "name,n,predicted,score,probability_benign,probability_malignant,flags,model_version,prediction_id",
        "'=cmd(),-3,benign,0.1,0.9,0.1,\"n: outside the contract's range; name: a category that is not in the "
        "contract ('x'), counted as missing\",2,p1",
    ]
