"""Text that a spreadsheet will not run: cells of a CSV of ours that would begin a formula get an apostrophe.

Here belongs what is written for people to open in a spreadsheet program. Tables keep what was sent, as it was.
"""

from __future__ import annotations

import re

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
NUMBER = re.compile(r"[+-]?[0-9][0-9.,]*([eE][+-]?[0-9]+)?")


def harmless(text: str) -> str:
    """`text`, with an apostrophe before it when a spreadsheet would take it for a formula. Numbers stay."""
    starts = text.lstrip(" \u00a0").startswith(STARTS) or text.startswith(STARTS)
    return f"'{text}" if starts and not NUMBER.fullmatch(text.strip()) else text
