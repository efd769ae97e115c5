"""What a model card is made of: sections of paragraphs, lists, tables and charts, as values.

Here belongs the shape alone, so that Markdown and HTML say the same. What a card says is `learn/card.py`; how it
looks is `learn/card_markdown.py`, `learn/card_html.py` and, for charts, `learn/card_charts.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["plain", "good", "bad", "warn"]


@dataclass(frozen=True)
class Code:
    """A name from the data or the project, shown as it is written."""

    text: str


Text = str | Code | tuple[str | Code, ...]


@dataclass(frozen=True)
class Paragraph:
    text: Text
    tone: Tone = "plain"


@dataclass(frozen=True)
class Bullets:
    items: Sequence[Text]


@dataclass(frozen=True)
class Table:
    """`numeric` columns (by position) are set to the right; `toned` colours rows by position."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Text]]
    numeric: frozenset[int] = frozenset()
    toned: dict[int, Tone] = field(default_factory=dict)
    caption: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawing as SVG; in Markdown there is none, so what it shows must stand in words or a table too."""

    title: str
    svg: str
    caption: str = ""


@dataclass(frozen=True)
class Charts:
    """Charts that stand beside each other where there is room."""

    charts: Sequence[Chart]


@dataclass(frozen=True)
class Fact:
    """A figure that is seen first."""

    label: str
    value: str
    note: str = ""


Block = Paragraph | Bullets | Table | Charts


@dataclass(frozen=True)
class Section:
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Card:
    """A whole card. `verdict` is the gate's in a few words."""

    title: str
    subtitle: str
    verdict: str
    tone: Tone
    facts: Sequence[Fact]
    sections: Sequence[Section]
