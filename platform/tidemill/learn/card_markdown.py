"""A model card as Markdown: for terminals, diffs and other tools. Charts are left out: tables say the same."""

from __future__ import annotations

import re

from tidemill.learn.card_parts import Block, Bullets, Card, Charts, Code, Paragraph, Section, Table, Text

# What would start markup in the middle of a line; names from the data must not make links, images or HTML.
_SPACES = re.compile(r"\s+")
_SIGNS = re.compile(r"([\\`*_\[\]<>|#$~])")


def markdown(card: Card) -> str:
    """The card as one Markdown text."""
    facts = "\n".join(
        f"- {_plain(fact.label)}: **{_plain(fact.value)}**" + (f" ({_plain(fact.note)})" if fact.note else "")
        for fact in card.facts
    )
    parts = [f"# {_plain(card.title)}", _plain(card.subtitle), f"**{_plain(card.verdict)}**", facts]
    parts += [_section(section) for section in card.sections]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section) -> str:
    blocks = [shown for block in section.blocks if (shown := _block(block))]
    return "\n\n".join([f"## {_plain(section.title)}", *blocks])


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        shown = _text(block.text)
        return f"**{shown}**" if block.tone in ("bad", "warn") else shown
    if isinstance(block, Bullets):
        return "\n".join(f"- {_text(item)}" for item in block.items)
    if isinstance(block, Table):
        return _table(block)
    assert isinstance(block, Charts)
    return ""


def _table(table: Table) -> str:
    line = (
        "|"
        + "|".join("---:" if place in table.numeric else "---" for place in range(len(table.columns)))
        + "|"
    )
    rows = ["| " + " | ".join(_text(cell) for cell in row) + " |" for row in table.rows]
    head = "| " + " | ".join(map(_plain, table.columns)) + " |"
    shown = "\n".join([head, line, *rows])
    return f"{shown}\n\n{_plain(table.caption)}" if table.caption else shown


def _text(text: Text) -> str:
    parts = text if isinstance(text, tuple) else (text,)
    return "".join(_code(part.text) if isinstance(part, Code) else _plain(part) for part in parts)


def _plain(text: str) -> str:
    return _SIGNS.sub(r"\\\1", _SPACES.sub(" ", text))


def _code(text: str) -> str:
    """As code where that can be; a backtick or a bar would end the code or its cell."""
    one_line = " ".join(text.split())
    return _plain(one_line) if "`" in one_line or "|" in one_line or not one_line else f"`{one_line}`"
