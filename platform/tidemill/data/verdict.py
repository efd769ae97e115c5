"""The verdict over a file as a whole: whether its columns and the share of its rejected rows let it in.

Here belong what is counted of a file and the refusals made of the counts. Which row is rejected for what is decided
in `data/accept.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field

from tidemill.data.contract import ColumnChange, missing_columns, renamed_columns
from tidemill.data.source import SourceFile
from tidemill.errors import ContractChanged, ContractViolation, Corrupt
from tidemill.project import Project, Rejects


@dataclass
class Tally:
    """What became of the rows so far, of all when `complete`.

    `reasons` counts (column, reason); `first_line` keeps where each was met first; `changed` holds the columns with
    cells of another type.
    """

    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    complete: bool = False
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    first_line: dict[tuple[str, str], int] = field(default_factory=dict)
    changed: list[ColumnChange] = field(default_factory=list)

    def note(self, line: int, column: str, reason: str) -> None:
        self.reasons[column, reason] += 1
        self.first_line.setdefault((column, reason), line)

    def check(self, name: str) -> None:
        """Raise Corrupt unless every row read is accounted for."""
        if self.accepted + self.rejected != self.rows:
            raise Corrupt(
                "Rows were lost while a file was taken in",
                detail=f"{name}: {self.rows} rows read, {self.accepted} accepted, {self.rejected} rejected",
                remedy="Nothing was published. Please report this, with the file if you may share it.",
            )


def check_columns(source: SourceFile, project: Project) -> None:
    """Raise ContractChanged, with the difference, unless the file has exactly the contract's columns.

    Their order does not matter, and optional ones may be absent.
    """
    missing = missing_columns(source.columns, project)
    added = [name for name in source.columns if name not in project.columns]
    if not missing and not added:
        return
    renamed = renamed_columns(missing, added)
    parts = [
        f"missing: {', '.join(missing)}" if missing else "",
        f"not in the contract: {', '.join(added)}" if added else "",
        *(f"{each['found']!r} may be {each['expected']!r}" for each in renamed),
    ]
    raise ContractChanged(
        "The file's columns are not the contract's",
        detail=f"{source.name}: {'; '.join(part for part in parts if part)}",
        remedy="Mend the header and send the file again; if the data changed, `./tidemill contract suggest "
        f"{project.name} FILE` shows a contract that takes it.",
        diff={"missing": missing, "added": added, "renamed": renamed},
    )


def check_share(tally: Tally, name: str, limits: Rejects) -> None:
    """Raise ContractViolation when a file has no rows, or too many of them were rejected, by share or by count."""
    most = limits.max_share * tally.rows
    if limits.max_rows is not None:
        most = min(most, limits.max_rows)
    if not tally.rows:
        raise ContractViolation(
            "The file has no rows",
            detail=f"{name} has a header and nothing below it",
            remedy="Send a file with at least one row.",
        )
    if tally.accepted and tally.rejected <= most:
        return
    if others := [change for change in tally.changed if change.rows > limits.max_share * tally.rows]:
        raise _other_types(others, tally, name)
    faults = [
        f"{column or 'the row'}: {reason} ({count} rows, first in line {tally.first_line[column, reason]})"
        for (column, reason), count in tally.reasons.most_common(5)
    ]
    raise ContractViolation(
        "Too many rows break the contract",
        detail=f"{name}: {tally.rejected} of {tally.rows} rows, {_limit(limits)}\n" + "\n".join(faults),
        remedy="Mend the file, or the rules in project.yaml if the data is right, and send the file again. "
        "The list of rejected rows names each line and reason.",
        diff={
            "rejected": [
                {
                    "column": column,
                    "reason": reason,
                    "rows": count,
                    "first_line": tally.first_line[column, reason],
                }
                for (column, reason), count in tally.reasons.most_common(50)
            ]
        },
    )


def _limit(limits: Rejects) -> str:
    if limits.max_rows is None:
        return f"at most {limits.max_share:.3g} of them may be rejected"
    return f"at most {limits.max_share:.3g} of them and at most {limits.max_rows} may be rejected"


def _other_types(changed: list[ColumnChange], tally: Tally, name: str) -> ContractChanged:
    found = [
        f"{each.column}: {each.rows} of {tally.rows} cells are not of type {each.expected} but seem to be "
        f"{each.found}, such as {', '.join(map(repr, each.examples))}"
        for each in changed
    ]
    return ContractChanged(
        "Columns are of another type than the contract's",
        detail=f"{name}: " + "\n".join(found),
        remedy="Mend those columns and send the file again; if the data changed, `./tidemill contract suggest` "
        "shows a contract that takes it. The list of rejected rows names each line.",
        diff={"changed": [asdict(each) for each in changed]},
    )
