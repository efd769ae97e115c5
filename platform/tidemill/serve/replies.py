"""Answers in the form that was asked for: NDJSON, CSV and Arrow.

Here belongs writing the answers to many records, or the refusals in their place, as tables and lines. A row has the
fields of the JSON answer; `probabilities` become a column for each class, contributions one for each field. What
the answers are is `serve/prediction.py`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from tidemill.data.formula import harmless
from tidemill.serve.record import flag_text

Row = dict[str, Any]


def as_ndjson(rows: Sequence[Row]) -> bytes:
    """One JSON document a line, as they stand in the list of a JSON answer."""
    return b"".join(
        json.dumps(row, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        for row in rows
    )


def as_csv(rows: Sequence[Row]) -> bytes:
    """CSV with a header. Flags and faults are `problem:column` and `column: reason`, with `; ` between."""
    table = [_flat(row) for row in rows]
    names = _names(table)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([harmless(name) for name in names])
    for row in table:
        cells = [_cell(name, row.get(name)) for name in names]
        writer.writerow([harmless(cell) if isinstance(cell, str) else cell for cell in cells])
    return out.getvalue().encode()


def as_arrow(rows: Sequence[Row]) -> bytes:
    """An Arrow IPC stream of the same columns; flags and faults are lists of structures."""
    import pyarrow as pa

    table = [_flat(row) for row in rows]
    texts = any(isinstance(row.get("label"), str) for row in table)
    structures = {
        "flags": ("field", "problem", "action", "found"),
        "faults": ("field", "found", "message"),
    }
    fields = []
    for name in _names(table):
        if name in structures:
            kind = pa.list_(pa.struct([(part, pa.string()) for part in structures[name]]))
        elif name in ("model_version", "status"):
            kind = pa.int64()
        elif name in _TEXTS or (name == "label" and texts):
            kind = pa.string()
        elif name == "calibrated":
            kind = pa.bool_()
        else:
            kind = pa.float64()
        fields.append((name, kind))
    made = pa.Table.from_pylist(table, schema=pa.schema(fields))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made)
    return bytes(sink.getvalue())


_TEXTS = ("id", "role", "at", "explained_label", "unit")


def _flat(row: Row) -> Row:
    """A row without objects in it."""
    flat: Row = {}
    for name, value in row.items():
        if name == "probabilities":
            flat |= {f"probability_{each}": share for each, share in (value or {}).items()}
        elif name == "explanation":
            flat |= {
                "explained_label": value["label"],
                "unit": value["unit"],
                "base_value": value["base_value"],
            }
            flat |= {"margin": value["margin"], "calibrated": value["calibrated"]}
            flat |= {f"contribution_{each}": moved for each, moved in value["contributions"].items()}
        else:
            flat[name] = value
    return flat


def _names(table: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in table for name in row))


def _cell(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "flags":
        return "; ".join(map(flag_text, value))
    if name == "faults":
        return "; ".join(f"{fault['field']}: {fault['message']}" for fault in value)
    return value
