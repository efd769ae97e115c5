"""Records on their way to a model, checked against the contract.

Here belongs what a record may hold and what is said when it holds something else. Rows of files are checked in
`data/checks.py`. Nothing is imported here that the prediction path would feel.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from tidemill.errors import InvalidInput
from tidemill.project import CATEGORICAL, NUMERIC, Column, Policy, Project

INT64 = 2**63
# Above this a float no longer tells neighbouring integers apart.
EXACT_IN_FLOAT = 2**53
MOST_FAULTS = 100
# Looking for a column of a like name is slow, and a record may hold a hundred thousand unknown ones.
MOST_HINTS = 5
LONGEST_HINTED = 100

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?")


# As JSON: field, problem, action, and `found` when the value did not reach the model.
Flag = dict[str, str]


@dataclass(frozen=True)
class RecordFault:
    """One thing wrong with a record; `field` is empty when it is the record itself."""

    field: str
    found: str
    message: str


@dataclass(frozen=True)
class CheckedRecord:
    """A record the contract allows.

    `values` has every feature of the contract, in its order: int, float, bool, str, date, datetime (UTC) or None.
    `flags` say what was odd and what became of it (see `flag_of`). `entity_id` is the value of the id column as
    text; `aside` holds what came along and is no feature.
    """

    values: dict[str, Any]
    flags: list[Flag]
    entity_id: str | None
    aside: dict[str, Any]

    @property
    def input(self) -> dict[str, Any]:
        """`values` as JSON: dates and times in ISO 8601."""
        return {name: _as_json(value) for name, value in self.values.items()}


class RecordContract:
    """What the records of one project may hold. Made once, used for each record."""

    def __init__(self, project: Project) -> None:
        self._features = project.feature_columns
        self._known = set(project.columns)
        self._names = list(project.columns)
        self._id = project.id_column
        serving = project.serving
        self._unknown_categories, self._out_of_range = serving.unknown_categories, serving.out_of_range
        self._missing_fields, self._drops_extra = serving.missing_fields, serving.extra_fields == "flag"

    def check(self, record: Any, hints: Hints | None = None) -> CheckedRecord | list[RecordFault]:
        """The record with its flags, or every fault it has.

        What a feature that is absent and a field the contract does not know come to is said by the project's
        `serving`. Target, id and other columns of the contract may come along and are kept aside. Numbers are JSON
        numbers (no text, no true/false), dates are ISO 8601.
        """
        if not isinstance(record, Mapping):
            return [RecordFault("", _shown(record), "a record is an object of field names and values")]
        work = _Work(hints or Hints())
        for name, column in self._features.items():
            work.values[name] = self._taken(name, column, record, work)
        aside: dict[str, Any] = {}
        for name, value in record.items():
            if name not in self._known:
                self._extra(name, value, work)
            elif name not in self._features:
                aside[name] = value
        entity = self._entity(aside, work.faults)
        return work.faults or CheckedRecord(work.values, work.flags, entity, aside)

    def check_each(self, records: Sequence[Any]) -> list[CheckedRecord | list[RecordFault]]:
        """What `check` says of each; records that are faults already (rows that could not be read) stay so."""
        hints = Hints()
        return [record if _is_faults(record) else self.check(record, hints) for record in records]

    def check_all(self, records: Sequence[Any]) -> list[CheckedRecord]:
        """All records, or InvalidInput whose `faults` list record (from 0), field, found and message."""
        checked: list[CheckedRecord] = []
        faults: list[dict[str, Any]] = []
        wrong = 0
        for index, result in enumerate(self.check_each(records)):
            if isinstance(result, CheckedRecord):
                checked.append(result)
                continue
            wrong += 1
            faults += [{"record": index, **fault.__dict__} for fault in result]
        if faults:
            raise _refusal(faults, wrong, len(records))
        return checked

    def _taken(self, name: str, column: Column, record: Mapping[str, Any], work: _Work) -> Any:
        """The feature's value for the model; what is odd or wrong about it goes to `work`."""
        value = record.get(name)
        if value is None:
            self._missing(name, column, name in record, work)
            return None
        try:
            typed = _typed(value, column)
        except ValueError as error:
            work.faults.append(RecordFault(name, _shown(value), str(error)))
            return None
        if message := _unknown_category(typed, column):
            return work.judged(self._unknown_categories, "unknown_category", name, value, typed, message)
        if message := _out_of_range(typed, column):
            return work.judged(self._out_of_range, "out_of_range", name, value, typed, message)
        return typed

    def _missing(self, name: str, column: Column, is_null: bool, work: _Work) -> None:
        policy = self._missing_fields
        if policy == "reject" and not is_null:
            work.faults.append(
                RecordFault(name, "nothing", "the field must be there; null says it is not known")
            )
        elif policy == "impute" and not (is_null and column.nulls):
            work.flags.append(flag_of(name, "missing_field", "imputed"))
        elif not column.nulls:
            work.faults.append(RecordFault(name, "nothing", "a value is required"))
        elif policy == "flag" and not is_null:
            work.flags.append(flag_of(name, "missing_field", "flagged"))

    def _extra(self, name: str, value: Any, work: _Work) -> None:
        if self._drops_extra:
            work.flags.append(flag_of(name[:100], "extra_field", "ignored", _shown(value)))
        else:
            work.faults.append(self._unknown(name, value, work.hints))

    def _unknown(self, name: str, value: Any, hints: Hints) -> RecordFault:
        near = difflib.get_close_matches(name, self._names, n=1) if hints.may(name) else []
        hint = f"; did you mean {near[0]}?" if near else ""
        return RecordFault(name[:100], _shown(value), f"the project has no such column{hint}")

    def _entity(self, aside: Mapping[str, Any], faults: list[RecordFault]) -> str | None:
        value = aside.get(self._id) if self._id else None
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            faults.append(RecordFault(str(self._id), _shown(value), "an id is a text or a whole number"))
            return None
        return str(value)


class Hints:
    """How many more unknown fields of a request are told which column they may have meant."""

    def __init__(self) -> None:
        self._left = MOST_HINTS

    def may(self, name: str) -> bool:
        self._left -= 1
        return self._left >= 0 and len(name) <= LONGEST_HINTED


class _Work:
    """What has been found of one record so far."""

    def __init__(self, hints: Hints) -> None:
        self.hints = hints
        self.values: dict[str, Any] = {}
        self.flags: list[Flag] = []
        self.faults: list[RecordFault] = []

    def judged(self, policy: Policy, problem: str, name: str, value: Any, typed: Any, message: str) -> Any:
        """What goes to the model of an odd `value`, which is `typed` as the contract has it."""
        if policy == "flag":
            self.flags.append(flag_of(name, problem, "flagged"))
            return typed
        if policy == "impute":
            self.flags.append(flag_of(name, problem, "imputed", _shown(value)))
        else:
            self.faults.append(RecordFault(name, _shown(value), message))
        return None


def flag_of(field: str, problem: str, action: str, found: str | None = None) -> Flag:
    """One flag of an answer.

    `problem`: unknown_category, out_of_range, missing_field or extra_field. `action`: flagged (the value went to
    the model as it stands), imputed (it counted as missing) or ignored (a field that is no column). `found` is the
    value that did not reach the model.
    """
    flag = {"field": field, "problem": problem, "action": action}
    return flag if found is None else {**flag, "found": found}


def flag_text(flag: Flag) -> str:
    """A flag in a cell of a file: `problem:field`, with the action when the model did not see the value."""
    text = f"{flag['problem']}:{flag['field']}"
    return text if flag["action"] == "flagged" else f"{text}:{flag['action']}"


def _is_faults(record: Any) -> bool:
    return type(record) is list and bool(record) and isinstance(record[0], RecordFault)


def _typed(value: Any, column: Column) -> Any:
    """`value` as the contract's type. Raises ValueError with what is wanted."""
    if column.type == "integer":
        return _integer(value)
    if column.type == "float":
        return _float(value)
    if column.type == "boolean":
        if not isinstance(value, bool):
            raise ValueError("it must be true or false, without quotes")
        return value
    if column.type == "date":
        return typed_date(value)
    if column.type == "datetime":
        return typed_datetime(value)
    return _text(value)


def _integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_IN_FLOAT:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("it must be a whole number, without quotes")
    if not -INT64 <= value < INT64:
        raise ValueError("the number does not fit into 64 bits")
    return value


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("it must be a number, without quotes")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError("the number is too large") from None
    if not math.isfinite(number):
        raise ValueError("it must be a finite number; leave it out or send null when it is not known")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("it must be a text, in quotes")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("the text holds half of a surrogate pair, which is no character") from None
    return value


def typed_date(value: Any) -> date:
    """The day that a text names. Raises ValueError with what is wanted."""
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError('it must be a date such as "2026-04-30"')
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError("there is no such day") from None


def typed_datetime(value: Any) -> datetime:
    """The moment that a text names, in UTC. Raises ValueError with what is wanted."""
    if not isinstance(value, str) or not _DATETIME.fullmatch(value):
        raise ValueError('it must be a time such as "2026-04-30T14:05:00Z" (UTC when no offset is given)')
    try:
        moment = datetime.fromisoformat(value.replace(",", "."))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("there is no such moment") from None


def _unknown_category(value: Any, column: Column) -> str | None:
    if column.values is None or column.type not in CATEGORICAL or value in column.values:
        return None
    named = ", ".join(column.values[:20]) + (", ..." if len(column.values) > 20 else "")
    return f"it must be one of {named}"


def _out_of_range(value: Any, column: Column) -> str | None:
    if column.type not in NUMERIC:
        return None
    if column.min is not None and value < column.min:
        return f"it must not be below {column.min:g}"
    if column.max is not None and value > column.max:
        return f"it must not be above {column.max:g}"
    return None


def _refusal(faults: list[dict[str, Any]], wrong: int, total: int) -> InvalidInput:
    first = faults[0]
    of = f"record {first['record']}, " if total > 1 else ""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return InvalidInput(
        "The record breaks the project's contract"
        if total == 1
        else f"{wrong} of {total} records break the project's contract",
        detail=f"{of}{first['field'] or 'the record'}: {first['message']}{more}",
        remedy="Mend the fields listed under faults and send the request again; nothing of it was scored.",
        faults=faults[:MOST_FAULTS],
        faults_total=len(faults),
    )


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value


def _shown(value: Any) -> str:
    """What was found, short and safe to print: a record may carry anything."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    shown = ascii(value) if isinstance(value, str) else _number_shown(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _number_shown(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a very large number"  # printing thousands of digits is refused by Python itself
    return repr(value)
