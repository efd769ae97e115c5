"""How the labelling of a project stands, for people: progress, agreement, and the report on each annotator.

Everything here is read from the ledger and from tables; no back end is asked. The measures themselves are in
`labels/agreement.py` and `labels/annotators.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from tidemill.home import Home
from tidemill.labels import ledger
from tidemill.labels.agreement import Agreement, cohen_kappa, fleiss_kappa, krippendorff_alpha, table_of
from tidemill.labels.annotators import report
from tidemill.labels.classes import known_classes
from tidemill.labels.ledger import Answer, Task
from tidemill.project import Project
from tidemill.store.state import State
from tidemill.store.tables import TableStore

# Pairs of people are told of one by one up to this many people.
MOST_PEOPLE = 12


def progress(home: Home, state: State, project: Project) -> dict[str, Any]:
    """Tasks, answers and rounds, and how many rows of the data have a label in the table `labels`."""
    tasks, answers = ledger.tasks(state, project.name), ledger.answers(state, project.name)
    labels = [each for each in answers if each.is_label]
    given = _people(labels)
    store = TableStore(home.tables(project.name))
    raw, labelled = store.current("raw"), store.current("labels")
    return {
        "kind": project.labels.kind,
        "instructions": project.labels.instructions,
        "classes": known_classes(home, project),
        "annotators_wanted": project.labels.annotators,
        "budget": project.labels.budget,
        "rows": raw.rows if raw else None,
        "labelled_rows": labelled.rows if labelled else None,
        "tasks": len(tasks),
        "finished": sum(_is_finished(task, given) for task in tasks),
        "answers": len(labels),
        "skipped": sum(each.is_live and each.label is None for each in answers),
        "unusable": sum(each.problem is not None and each.deleted_at is None for each in answers),
        "by_annotator": dict(sorted(Counter(each.annotator for each in labels).items())),
        "rounds": _rounds(tasks, given),
    }


def open_tasks(state: State, project: str) -> int:
    """Rows that still wait for answers."""
    given = _people([each for each in ledger.answers(state, project) if each.is_label])
    return sum(given[row] < wanted for row, (_, wanted) in ledger.needed(state, project).items())


def agreement(state: State, project: Project) -> list[dict[str, Any]]:
    """Every coefficient that the answers allow, each with `annotators`: the two of a Cohen's kappa, else all.

    Krippendorff's alpha always; for classes Fleiss' kappa where the rows with several answers have equally many,
    and Cohen's kappa of each two people who have rows in common.
    """
    by_row: dict[str, dict[str, str | float]] = defaultdict(dict)
    for each in ledger.answers(state, project.name):
        if each.is_label and each.label is not None:
            by_row[each.row][each.annotator] = each.label
    rows = list(by_row.values())
    people = sorted({name for row in rows for name in row})
    seed = project.training.seed
    if not project.is_classification:
        return [_named(krippendorff_alpha(rows, "interval", seed=seed), people)]
    found = [_named(krippendorff_alpha(rows, "nominal", seed=seed), people)]
    if (table := table_of(rows)) is not None:
        found.append(_named(fleiss_kappa(table, seed=seed), people))
    for one, other in combinations(people[:MOST_PEOPLE], 2):
        both = [row for row in rows if one in row and other in row]
        if both:
            first, second = ([str(row[name]) for row in both] for name in (one, other))
            found.append(_named(cohen_kappa(first, second, seed=seed), [one, other]))
    return found


def annotators(home: Home, state: State, project: Project) -> list[dict[str, Any]]:
    """The report on each person. Known labels are those of gold rows in the table `labels`."""
    gold = {task.row for task in ledger.tasks(state, project.name) if task.reason == "gold"}
    known: dict[str, str | float] = {}
    labels = TableStore(home.tables(project.name)).current("labels")
    if gold and labels is not None:
        frame = labels.to_pandas(["_row", "label", "origin"])
        own = frame[frame["_row"].isin(gold) & (frame["origin"] == "column")]
        known = dict(zip(own["_row"], own["label"], strict=True))
    given = ledger.answers(state, project.name)
    return [asdict(each) for each in report(given, known, numeric=not project.is_classification)]


def _people(labels: Sequence[Answer]) -> Counter[str]:
    """How many people have answered about each row: someone may have done so on two servers."""
    return Counter(row for row, _ in {(each.row, each.annotator) for each in labels})


def _is_finished(task: Task, given: Mapping[str, int]) -> bool:
    return given.get(task.row, 0) >= task.annotators


def _rounds(tasks: Sequence[Task], given: Mapping[str, int]) -> list[dict[str, Any]]:
    by_round: dict[int, list[Task]] = defaultdict(list)
    for task in tasks:
        by_round[task.round].append(task)
    return [
        {
            "round": number,
            "tasks": len(own),
            "finished": sum(_is_finished(task, given) for task in own),
            "reasons": dict(Counter(task.reason for task in own)),
        }
        for number, own in sorted(by_round.items(), reverse=True)
    ]


def _named(found: Agreement, people: Sequence[str]) -> dict[str, Any]:
    return {**asdict(found), "annotators": list(people)}
