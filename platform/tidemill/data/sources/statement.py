"""Telling whether a query is one SELECT: the first of two locks, the second is a read-only transaction."""

from __future__ import annotations

import re

# Text in quotes, names in quotes, dollar quotes and comments: whatever stands in them is no command.
_OPAQUE = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` | \$(\w*)\$.*?\$\1\$ | --[^\n]* | /\*.*?\*/""",
    re.VERBOSE | re.DOTALL,
)
_WORD = re.compile(r"[a-z_]+")
_CHANGES = frozenset({
    "insert", "update", "delete", "merge", "into", "drop", "alter", "create", "truncate", "grant", "revoke",
    "attach", "pragma",
})  # fmt: skip


def fault_of(query: str) -> str | None:
    """What keeps `query` from being run, or None for one SELECT (also after WITH)."""
    bare = (
        _OPAQUE.sub(lambda part: " " if part[0][:2] in ("--", "/*") else " ' ", query)
        .strip()
        .rstrip(";")
        .strip()
        .lower()
    )
    words = _WORD.findall(bare)
    if ";" in bare:
        return "it must be one statement: there is a ; within it"
    if not words or words[0] not in ("select", "with") or not bare.startswith(words[0]):
        return "it must be a SELECT, or a WITH that ends in one"
    if forbidden := next((word for word in words if word in _CHANGES), None):
        return f"it must only read, and {forbidden.upper()} changes: put a name that is called so in quotes"
    return None


def stripped(query: str) -> str:
    """`query` without the semicolon at its end, so that it can stand in brackets."""
    return query.strip().rstrip(";").strip()
