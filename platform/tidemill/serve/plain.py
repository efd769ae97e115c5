"""The short way from the bytes of a request to the bytes of its answer, for records that are plainly right.

Here belongs reading a body, checking it with code made for one contract, and writing answer and log line without
the objects between them. Whatever is odd in the least (a fault, an escape that might hide one, a value that needs
a conversion) gives None here and goes the long way: `strict_json`, `serve/record.py`, `serve/service.py`. That way
says what is right; `tests/api/test_prediction_route.py` holds both to the same answers.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from tidemill.project import CATEGORICAL, NUMERIC, Column, Project
from tidemill.serve.record import INT64, CheckedRecord, RecordContract, typed_date, typed_datetime
from tidemill.serve.wording import wording
from tidemill.strict_json import loads

if TYPE_CHECKING:
    from tidemill.serve.compiled import CompiledScorer

# Values in the contract's order, the entity's id, and how many texts the record held.
Plain = tuple[dict[str, Any], str | None, int]
Check = Callable[[dict[str, Any]], Plain | None]

_IDS_AT_ONCE = 256


@dataclass(slots=True)
class PlainAnswer:
    """`body` is the answer, `lines` what the log must hold before it is sent."""

    body: bytes
    lines: bytes
    count: int
    version: int


class PlainRoute:
    """Answers plain requests for one loaded model. Safe to use from several threads."""

    def __init__(
        self, project: Project, contract: RecordContract, scorer: CompiledScorer, role: str = "champion"
    ) -> None:
        self._check = plain_check(project)
        self._contract = contract
        self._many = scorer.rows
        self._one = scorer.model.one
        self._scored = wording(scorer.verdict)
        self.version = scorer.version
        self.role = role
        self._head = f',"project":{_json(project.name)},"model_version":{scorer.version},"role":{_json(role)}'
        self._tail = f',"model_version":{scorer.version},"role":{_json(role)},"flags":'

    def __call__(self, body: bytes, request_id: str, most: int, started: float) -> PlainAnswer | None:
        """The answer to a body of one record or of at most `most`, or None when it must go the long way.

        `started` is the `time.perf_counter()` of the request. `request_id` is ASCII without quotes.
        """
        if b"\\" in body:
            # Half a surrogate pair and a key that comes twice can hide in escapes.
            try:
                document, quotes = loads(body.decode()), -1
            except ValueError:
                return None
        else:
            try:
                document, quotes = orjson.loads(body), body.count(b'"')
            except orjson.JSONDecodeError:
                return None
        if type(document) is dict:
            if len(document) == 1 and type(document.get("records")) is list:
                records, outer = document["records"], 1
            else:
                return self._answer_one(document, quotes, request_id, started)
        elif type(document) is list:
            records, outer = document, 0
        else:
            return None
        if not 0 < len(records) <= most:
            return None
        return self._answer_many(records, quotes, outer, request_id, started)

    def allows(self, record: dict[str, Any]) -> bool:
        """Whether a record has nothing odd under this model's contract."""
        return self._check(record) is not None

    def _answer_one(
        self, record: dict[str, Any], quotes: int, request_id: str, started: float
    ) -> PlainAnswer | None:
        found = self._check(record)
        flags = "[]"
        if found is None:
            odd = self._odd(record, quotes)
            if odd is None:
                return None
            values, entity, flags = odd.values, odd.entity_id, _json(odd.flags)
        else:
            values, entity, texts = found
            # A key that comes twice leaves more quotation marks in the body than keys and texts account for.
            if quotes >= 0 and quotes != 2 * (len(record) + texts):
                return None
        scored = self._scored(self._one(values))
        if scored is None:
            return None
        at = _now()
        milliseconds = (time.perf_counter() - started) * 1000
        identity = new_id()
        return PlainAnswer(
            self._body(identity, scored, flags, at).encode(),
            self._line(identity, at, request_id, entity, values, scored, flags, milliseconds),
            1,
            self.version,
        )

    def _answer_many(
        self, records: list[Any], quotes: int, outer: int, request_id: str, started: float
    ) -> PlainAnswer | None:
        checked: list[tuple[dict[str, Any], str | None]] = []
        texts = outer
        for record in records:
            found = self._check(record) if type(record) is dict else None
            if found is None:
                return None
            checked.append(found[:2])
            texts += len(record) + found[2]
        if quotes >= 0 and quotes != 2 * texts:
            return None
        scores = [self._scored(row) for row in self._many([values for values, _ in checked])]
        at = _now()
        milliseconds = (time.perf_counter() - started) * 1000
        bodies, lines = [], []
        for (values, entity), scored in zip(checked, scores, strict=True):
            if scored is None:
                return None
            identity = new_id()
            bodies.append(self._body(identity, scored, "[]", at))
            lines.append(self._line(identity, at, request_id, entity, values, scored, "[]", milliseconds))
        body = f'{{"predictions":[{",".join(bodies)}]}}'.encode()
        return PlainAnswer(body, b"".join(lines), len(records), self.version)

    def _odd(self, record: dict[str, Any], quotes: int) -> CheckedRecord | None:
        """A record that is allowed but not plain, if reading it strictly could not have found a fault in it."""
        checked = self._contract.check(record)
        if not isinstance(checked, CheckedRecord):
            return None
        texts = sum(type(value) is str for value in record.values())
        nested = any(type(value) in (dict, list) for value in record.values())
        if quotes >= 0 and (nested or quotes != 2 * (len(record) + texts)):
            return None
        return checked

    def _body(self, identity: str, scored: str, flags: str, at: str) -> str:
        return f'{{"id":"{identity}",{scored}{self._tail}{flags},"at":"{at}"}}'

    def _line(
        self,
        identity: str,
        at: str,
        request_id: str,
        entity: str | None,
        values: Mapping[str, Any],
        scored: str,
        flags: str,
        milliseconds: float,
    ) -> bytes:
        entity_json = "null" if entity is None else _json(entity)
        head = (
            f'{{"id":"{identity}","at":"{at}"{self._head},"request_id":"{request_id}",'
            f'"entity_id":{entity_json},"input":'
        )
        tail = f',{scored},"flags":{flags},"latency_ms":{milliseconds:.3f}}}\n'
        return head.encode() + orjson.dumps(values, option=orjson.OPT_UTC_Z) + tail.encode()


def plain_check(project: Project) -> Check:
    """A function that gives a record's values when each has the very type of its column, else None.

    It is written out as Python for the contract, as `dataclasses` does: no loop over columns, no dispatch by type.
    Texts of the contract stand in it as literals (`repr`) or under a name, so that none becomes code.
    """
    names: dict[str, Any] = {
        "known": frozenset(project.columns),
        "date_of": typed_date,
        "moment_of": typed_datetime,
    }
    lines = [
        "def check(record):",
        "  if not known.issuperset(record): return None",
        "  get = record.get; texts = 0",
    ]
    entity = "None"
    allows_missing = project.serving.missing_fields == "allow"
    for index, (name, column) in enumerate(project.columns.items()):
        value = f"v{index}"
        lines.append(f"  {value} = get({name!r})")
        if name in project.feature_columns:
            lines.append(f"  if {value} is None:")
            # Other rules on what is missing tell an absent field from a null one.
            lines.append("    pass" if column.nulls and allows_missing else "    return None")
            lines += [f"  {line}" for line in _checks_of(column, value, index, names)]
            continue
        lines.append(f"  if {value}.__class__ is str: texts += 1")
        lines.append(f"  elif {value}.__class__ is dict or {value}.__class__ is list: return None")
        if name == project.id_column:
            entity = "entity"
            lines.append(f"  if {value} is None: entity = None")
            lines.append(f"  elif {value}.__class__ is str and {value}: entity = {value}")
            lines.append(f"  elif {value}.__class__ is int: entity = str({value})")
            lines.append("  else: return None")
    places = {name: f"v{index}" for index, name in enumerate(project.columns)}
    values = ", ".join(f"{name!r}: {places[name]}" for name in project.feature_columns)
    lines.append(f"  return {{{values}}}, {entity}, texts")
    exec("\n".join(lines), names)
    made: Check = names["check"]
    return made


def _checks_of(column: Column, value: str, index: int, names: dict[str, Any]) -> list[str]:
    kind = f"{value}.__class__"
    lowest = None if column.min is None or column.type not in NUMERIC else column.min
    highest = None if column.max is None or column.type not in NUMERIC else column.max
    if column.type == "integer":
        names[f"low{index}"] = -INT64 if lowest is None else max(lowest, -INT64)
        names[f"high{index}"] = INT64 - 1 if highest is None else min(highest, INT64 - 1)
        return [f"elif {kind} is not int or not low{index} <= {value} <= high{index}: return None"]
    if column.type == "float":
        names[f"low{index}"] = float("-inf") if lowest is None else lowest
        names[f"high{index}"] = float("inf") if highest is None else highest
        limits = f"low{index} <= {value} <= high{index}"
        return [
            f"elif {kind} is float:",
            *(
                [f"  if not {limits}: return None"]
                if lowest is not None or highest is not None
                else ["  pass"]
            ),
            f"elif {kind} is int and -{2**63} <= {value} < {2**63} and {limits}: {value} = float({value})",
            "else: return None",
        ]
    if column.type == "boolean":
        return [f"elif {kind} is not bool: return None"]
    lines = [f"elif {kind} is not str: return None", "else:", "  texts += 1"]
    if column.type in ("date", "datetime"):
        convert = "date_of" if column.type == "date" else "moment_of"
        lines += [f"  try: {value} = {convert}({value})", "  except ValueError: return None"]
    elif column.values is not None and column.type in CATEGORICAL:
        names[f"values{index}"] = frozenset(column.values)
        lines.append(f"  if {value} not in values{index}: return None")
    return lines


_ids: deque[str] = deque()
# A child process must not hand out the ids of its parent's store.
os.register_at_fork(after_in_child=_ids.clear)


def new_id() -> str:
    """A random UUID (version 4) as text; randomness is fetched for many at once."""
    one = new_hex()
    return f"{one[:8]}-{one[8:12]}-{one[12:16]}-{one[16:20]}-{one[20:]}"


def new_hex() -> str:
    """The same without its hyphens."""
    try:
        return _ids.popleft()
    except IndexError:
        pool = os.urandom(16 * _IDS_AT_ONCE).hex()
    for start in range(0, len(pool), 32):
        one = pool[start : start + 32]
        variant = "89ab"[int(one[16], 16) & 3]
        _ids.append(f"{one[:12]}4{one[13:16]}{variant}{one[17:]}")
    return _ids.popleft()


_second = (0, "")


def _now() -> str:
    """The time as `datetime.isoformat(timespec="milliseconds")` in UTC has it."""
    global _second
    now = time.time_ns() // 1_000_000
    second, text = _second
    whole = now // 1000
    if whole != second:
        text = datetime.fromtimestamp(whole, UTC).isoformat()[:19]
        _second = (whole, text)
    return f"{text}.{now % 1000:03d}+00:00"


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
