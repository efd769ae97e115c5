"""One record straight to the numbers a model needs: the columns of a compiled scorer, written out as Python.

Here belongs making two functions from the entries of a form: `row_function` gives the encoded row that trees
read, `sums_function` the raw sums of a linear model, whose scaling and weights are folded into one factor a number
and one table a category. There is no loop over columns and no dispatch, as in what `dataclasses` writes.
`serve/encoding.py` says what the code has to mean; what is folded may differ from it by rounding alone. Texts of a
form stand in the code as literals (`repr`), so that none becomes code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from math import copysign
from typing import Any

from tidemill.serve.encoding import LARGEST, MISSING, TextColumn, column

Function = Callable[[Mapping[str, Any]], list[float]]
_EPOCH = date(1970, 1, 1).toordinal()


class _Code:
    """Lines of a function under way, and what their names stand for."""

    def __init__(self) -> None:
        self.lines: list[str] = ["def function(record):"]
        self.names: dict[str, Any] = {"copysign": copysign}

    def add(self, *lines: str) -> None:
        self.lines += [f"  {line}" for line in lines]

    def named(self, value: Any) -> str:
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def number(self, value: float) -> str:
        """A float as it stands in code; what has no literal gets a name."""
        return repr(value) if value - value == 0.0 else self.named(value)

    def made(self) -> Function:
        exec("\n".join(self.lines), self.names)
        function: Function = self.names["function"]
        return function


def row_function(entries: Sequence[Mapping[str, Any]], width: int) -> Function | None:
    """From a record's values to its encoded row of `width` numbers; None where a column has no such code."""
    code = _Code()
    places: dict[int, str] = {}
    for index, entry in enumerate(entries):
        if entry["kind"] == "text":
            return None
        if entry["kind"] == "category":
            first, table, unknown = _one_hot(entry)
            code.add(f"t{index} = {code.named(table)}(record[{entry['name']!r}], {code.named(unknown)})")
            places |= {first + offset: "" for offset in range(len(unknown))}
            if unknown:
                places[first] = f"*t{index}"
            continue
        for part, value in _numbers(entry, index, code):
            _placed(part, value, code)
            places[int(part["at"])] = f"p{int(part['at'])}"
            if part["gap"] is not None:
                places[int(part["gap"]["at"])] = f"p{int(part['gap']['at'])}"
    row = [places.get(place, "0.0") for place in range(width)]
    code.add(f"return [{', '.join(item for item in row if item)}]")
    return code.made()


def sums_function(
    entries: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, Any],
    weights: list[list[float]],
    offsets: list[float],
) -> Function:
    """From a record's values to the raw sums of a linear model, one for each of `offsets`."""
    code = _Code()
    outputs = range(len(offsets))
    for output in outputs:
        code.add(f"z{output} = {code.number(offsets[output])}")
    for index, entry in enumerate(entries):
        if entry["kind"] == "text":
            _add_text(entry, arrays, weights, code)
        elif entry["kind"] == "category":
            value = f"record[{entry['name']!r}]"
            for output in outputs:
                table, unknown = _weights_of(entry, weights[output])
                code.add(f"z{output} += {code.named(table.get)}({value}, {code.number(unknown)})")
        else:
            for part, value in _numbers(entry, index, code):
                _added(part, value, weights, code)
    code.add(f"return [{', '.join(f'z{output}' for output in outputs)}]")
    return code.made()


def _one_hot(entry: Mapping[str, Any]) -> tuple[int, Callable[..., tuple[float, ...]], tuple[float, ...]]:
    """The first place of a category, the row of each value from there on, and that of an unknown one."""
    known = {str(value): int(at) for value, at in entry["known"].items()}
    unknown = entry["unknown"]
    filled = [*known.values(), *([] if unknown is None else [int(unknown)])]
    first = min(filled, default=0)
    width = max(filled, default=-1) - first + 1
    rows: dict[str | None, tuple[float, ...]] = {
        value: tuple(1.0 if place == at - first else 0.0 for place in range(width))
        for value, at in known.items()
    }
    nothing = tuple(
        1.0 if unknown is not None and place == int(unknown) - first else 0.0 for place in range(width)
    )
    rows[None] = rows.get(MISSING, nothing)
    return first, rows.get, nothing


def _weights_of(entry: Mapping[str, Any], weights: list[float]) -> tuple[dict[str | None, float], float]:
    table: dict[str | None, float] = {str(value): weights[int(at)] for value, at in entry["known"].items()}
    unknown = 0.0 if entry["unknown"] is None else weights[int(entry["unknown"])]
    table[None] = table.get(MISSING, unknown)
    return table, unknown


def _numbers(entry: Mapping[str, Any], index: int, code: _Code) -> list[tuple[Mapping[str, Any], str]]:
    """The numbers that a column gives, each with the variable that holds it or None."""
    value = f"v{index}"
    code.add(f"{value} = record[{entry['name']!r}]")
    if entry["kind"] == "number":
        return [(entry["number"], value)]
    if entry["kind"] != "date":
        raise ValueError(f"a column of an unknown kind: {entry['kind']!r}")
    parts = [f"{value}_{part}" for part in range(len(entry["numbers"]))]
    code.add(f"if {value} is None: {' = '.join(parts)} = None", "else:", f"  day = {value}.toordinal()")
    found = [f"{value}.year", f"{value}.month", "(day - 1) % 7", f"day - {_EPOCH}", f"{value}.hour"]
    code.add(*(f"  {part} = {what}" for part, what in zip(parts, found, strict=False)))
    return list(zip(entry["numbers"], parts, strict=True))


def _filled(part: Mapping[str, Any]) -> float:
    return float("nan") if part["fill"] is None else float(part["fill"])


def _within(value: str) -> str:
    """Code that brings a number inside what float32 holds, as the encoders do."""
    return f"if not -{LARGEST!r} <= {value} <= {LARGEST!r}: {value} = copysign({LARGEST!r}, {value})"


def _placed(part: Mapping[str, Any], value: str, code: _Code) -> None:
    """Code that puts a number, scaled, and the indicator of its gap under the names of their places."""
    shift, scale, gap = float(part["shift"]), float(part["scale"]), part["gap"]
    own = f"p{int(part['at'])}"
    missing = 0.0 if part["empty"] else (_filled(part) - shift) / scale
    scaled = value if shift == 0.0 and scale == 1.0 else f"({value} - {shift!r}) / {scale!r}"
    code.add(f"if {value} is None:", f"  {own} = {code.number(missing)}")
    if gap is not None:
        code.add(f"  p{int(gap['at'])} = {float(gap['missing'])!r}")
    code.add("else:", f"  {_within(value)}", f"  {own} = {'0.0' if part['empty'] else scaled}")
    if gap is not None:
        code.add(f"  p{int(gap['at'])} = {float(gap['present'])!r}")


def _added(part: Mapping[str, Any], value: str, weights: list[list[float]], code: _Code) -> None:
    """Code that adds what a number weighs to each sum.

    The shift is taken off first, not folded into the offset: of a large number little more than it may be left.
    """
    shift, scale, gap, at = float(part["shift"]), float(part["scale"]), part["gap"], int(part["at"])
    of_gap = [0.0 if gap is None else own[int(gap["at"])] for own in weights]
    missing = 0.0 if part["empty"] else (_filled(part) - shift) / scale
    code.add(f"if {value} is None:")
    for output, own in enumerate(weights):
        whole = missing * own[at] + (0.0 if gap is None else float(gap["missing"]) * of_gap[output])
        code.add(f"  z{output} += {code.number(whole)}")
    code.add("else:", f"  {_within(value)}")
    for output, own in enumerate(weights):
        present = 0.0 if gap is None else float(gap["present"]) * of_gap[output]
        term = "" if part["empty"] else f"({value} - {shift!r}) * {own[at] / scale!r}"
        rest = f" + {present!r}" if present else ""
        code.add(f"  z{output} += {term or '0.0'}{rest}")


def _add_text(
    entry: Mapping[str, Any], arrays: Mapping[str, Any], weights: list[list[float]], code: _Code
) -> None:
    """Code that leaves a text to its column, and weighs the terms that were found in it."""
    text = column(entry, arrays)
    assert isinstance(text, TextColumn)
    code.add(
        "places = []; numbers = []",
        f"{code.named(text.put)}(record[{entry['name']!r}], places, numbers)",
        "for place, number in zip(places, numbers):",
        *(f"  z{output} += {code.named(own)}[place] * number" for output, own in enumerate(weights)),
    )
