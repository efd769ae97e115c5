"""Text that a spreadsheet will not run: cells of a CSV of ours that would begin a formula get an apostrophe.

Here belongs what is written for people to open in a spreadsheet program. Tables keep what was sent, as it was.
"""

from __future__ import annotations

import re

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*([eE][+-]?[0-9]+)?")


def harmless(text: str) -> str:
    """`text`, with an apostrophe before it when a spreadsheet would take it for a formula. Numbers stay."""
    return f"'{text}" if _is_formula(text) else text


def guarded(text: str) -> str:
    """`harmless`, such that `unguarded` gives `text` back: what looks guarded already is guarded once more."""
    return f"'{text}" if _is_formula(text.lstrip("'")) else text


def unguarded(text: str) -> str:
    """What `guarded` made this text of."""
    return text[1:] if text.startswith("'") and _is_formula(text.lstrip("'")) else text


def _is_formula(text: str) -> bool:
    starts = text.lstrip(" \u00a0").startswith(STARTS) or text.startswith(STARTS)
    return starts and not NUMBER.fullmatch(text.strip())
