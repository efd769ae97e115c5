"""A model card as one HTML file: no scripts, no outside resources, light and dark, and made to be printed."""

from __future__ import annotations

from html import escape

from tidemill.learn.card_parts import (
    Block,
    Bullets,
    Card,
    Chart,
    Code,
    Paragraph,
    Section,
    Table,
    Text,
)

_STYLE = """
:root { color-scheme: light dark; --ink: #17212b; --soft: #5b6874; --line: #dde3e8; --paper: #fff; --wash: #f5f7f9;
  --main: #0f766e; --second: #b45309; --bad: #b42318; --warn: #b54708; --good: #067647; --faint: #94a3b8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebef; --soft: #a0acb7; --line: #333f4a; --paper: #12181e;
  --wash: #1a222a; --main: #2dd4bf; --second: #fbbf24; --bad: #f97066; --warn: #fdb022; --good: #47cd89;
  --faint: #64748b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.2rem 1.6rem 3rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .7rem; padding-top: .9rem; border-top: 1px solid var(--line); }
h3 { font-size: .9rem; margin: 0 0 .3rem; }
p { margin: .5rem 0; max-width: 46rem; }
ul { margin: .4rem 0; padding-left: 1.2rem; max-width: 46rem; }
.subtitle, .note, figcaption, caption { color: var(--soft); }
.verdict { display: inline-block; margin: .8rem 0 0; padding: .2rem .7rem; border-radius: 99px; font-weight: 600;
  border: 1.5px solid currentColor; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); } .plain { color: inherit; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem;
  margin: 1.2rem 0 0; }
.fact { background: var(--wash); border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem; }
.fact b { display: block; font-size: 1.35rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.fact span { font-size: .82rem; color: var(--soft); display: block; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; min-width: min(100%, 26rem); font-size: .88rem;
  font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; padding-top: .4rem; font-size: .84rem; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 1.5px solid var(--line); }
th, td { padding: .32rem 1.4rem .32rem 0; vertical-align: top; }
td { border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
.num { text-align: right; white-space: nowrap; overflow-wrap: normal; }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, monospace; background: var(--wash); padding: .05em .3em;
  border-radius: 4px; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1.2rem;
  margin: .8rem 0; }
figure { margin: 0; break-inside: avoid; } figcaption { font-size: .82rem; }
svg { width: 100%; height: auto; display: block; font: 11px system-ui, sans-serif; }
svg text { fill: var(--soft); } svg .ink { fill: var(--ink); } svg .axis { stroke: var(--line); fill: none; }
svg .faint { stroke: var(--faint); stroke-dasharray: 3 3; fill: none; } svg .line { stroke: var(--main);
  stroke-width: 2; fill: none; } svg .band { stroke: var(--main); stroke-width: 1.5; opacity: .65; fill: none; }
svg .dot { fill: var(--main); } svg .bar { fill: var(--main); opacity: .85; } svg .cell { fill: var(--main); }
svg .tick { stroke: var(--second); stroke-width: 2; } svg .weak { stroke: var(--bad); fill: var(--bad); }
svg .c1 { stroke: var(--second); } svg .c2 { stroke: #7c3aed; } svg .c3 { stroke: #2563eb; }
footer { margin-top: 2.5rem; font-size: .8rem; color: var(--soft); }
@page { margin: 16mm 14mm; }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --line: #ccc; --paper: #fff; --wash: #f7f7f7;
  --main: #0f766e; --second: #b45309; --bad: #b42318; --warn: #b54708; --good: #067647; --faint: #94a3b8; }
  body { padding: 0; max-width: none; font-size: 10.5pt; } h2 { break-after: avoid; } tr { break-inside: avoid; }
  .fact, .verdict, svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def html(card: Card) -> str:
    """The card as one self-contained page."""
    facts = "".join(
        f'<div class="fact"><span>{escape(fact.label)}</span><b>{escape(fact.value)}</b>'
        f"<span>{escape(fact.note)}</span></div>"
        for fact in card.facts
    )
    sections = "\n".join(_section(section) for section in card.sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(card.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>{escape(card.title)}</h1>
<div class="subtitle">{escape(card.subtitle)}</div>
<div class="verdict {card.tone}">{escape(card.verdict)}</div>
<div class="facts">{facts}</div>
</header>
<main>
{sections}
</main>
<footer>Model card after Mitchell et al. (2019), written by Tidemill.</footer>
</body>
</html>
"""


def _section(section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>"


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return f'<p class="{block.tone}">{_text(block.text)}</p>'
    if isinstance(block, Bullets):
        return "<ul>" + "".join(f"<li>{_text(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Table):
        return _table(block)
    return '<div class="charts">' + "".join(map(_chart, block.charts)) + "</div>"


def _table(table: Table) -> str:
    def kind(place: int) -> str:
        return ' class="num"' if place in table.numeric else ""

    head = "".join(f"<th{kind(place)}>{escape(name)}</th>" for place, name in enumerate(table.columns))
    rows = []
    for index, row in enumerate(table.rows):
        cells = "".join(f"<td{kind(place)}>{_text(cell)}</td>" for place, cell in enumerate(row))
        rows.append(f'<tr class="{table.toned.get(index, "plain")}">{cells}</tr>')
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    return (
        f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _chart(chart: Chart) -> str:
    caption = f"<figcaption>{escape(chart.caption)}</figcaption>" if chart.caption else ""
    return f"<figure><h3>{escape(chart.title)}</h3>{chart.svg}{caption}</figure>"


def _text(text: Text) -> str:
    parts = text if isinstance(text, tuple) else (text,)
    return "".join(
        f"<code>{escape(part.text)}</code>" if isinstance(part, Code) else escape(part) for part in parts
    )
