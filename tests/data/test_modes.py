"""What a file does to the rows that are there: append, replace, upsert."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidemill.data import ingest, versions
from tidemill.data.ingest import FileOutcome, ingest_pending
from tidemill.errors import ProjectFileError
from tidemill.home import Home
from tidemill.project import Project
from tidemill.store.state import State
from tidemill.store.tables import TableStore

Take = Callable[..., FileOutcome]
A1 = "a1,40,9.5,basic,yes,2024-01-02,no"
A2 = "a2,,0,plus,no,,yes"
A3 = "a3,30,1,plus,no,,yes"


@pytest.fixture
def take(home: Home, state: State, shop: Project, drop: Callable[..., Path]) -> Take:
    """Ingest one file in a mode; the project's file may be changed with pairs of texts."""

    def run(name: str, *lines: str, mode: str, change: tuple[str, str] = ("", "")) -> FileOutcome:
        file = home.project_file("shop")
        text = file.read_text().split("ingestion:")[0].replace(*change)
        file.write_text(f"{text}ingestion: {{mode: {mode}}}\n")
        drop(name, *lines)
        (outcome,) = ingest_pending(home, state, Project.load(file)).files
        return outcome

    assert shop.ingestion.mode == "append"
    return run


@pytest.fixture
def tables(home: Home) -> TableStore:
    return TableStore(home.tables("shop"))


def rows(store: TableStore, number: int | None = None) -> dict[str, tuple[Any, ...]]:
    version = store.version("raw", number) if number else store.require("raw")
    found = version.to_arrow().to_pylist()
    assert len({row["_row"] for row in found}) == len(found) == version.rows
    return {row["_row"]: (row["age"], row["plan"]) for row in found}


def test_replace_leaves_only_the_new_rows_and_every_version(take: Take, tables: TableStore) -> None:
    take("one.csv", A1, A2, mode="append")
    outcome = take("two.csv", A2, A3, mode="replace")
    assert (outcome.status, outcome.accepted) == ("accepted", 2)
    assert set(rows(tables)) == {"a2", "a3"}
    assert set(rows(tables, 1)) == {"a1", "a2"}
    newest = versions.history(tables, "raw")[0]
    assert (newest["added"], newest["changed"], newest["removed"]) == (1, 0, 1)
    assert [source["name"] for source in tables.require("raw").sources] == ["two.csv"]


def test_a_file_dropped_again_after_it_was_replaced_is_taken_again(take: Take, tables: TableStore) -> None:
    take("one.csv", A1, mode="replace")
    take("two.csv", A2, mode="replace")
    assert take("two.csv", A2, mode="replace").status == "duplicate"
    assert take("one.csv", A1, mode="replace").status == "accepted"
    assert set(rows(tables)) == {"a1"}


def test_upsert_replaces_rows_of_the_same_id(take: Take, tables: TableStore) -> None:
    take("one.csv", A1, A2, mode="append")
    take("far.csv", "z1,1,1,plus,no,,no", mode="append")
    outcome = take("two.csv", A1.replace("40", "41"), A2, A3, mode="upsert")
    assert (outcome.accepted, outcome.rejected) == (3, 0)
    assert outcome.changes == {"added": 1, "changed": 1, "unchanged": 1}
    assert rows(tables) == {"a1": (41, "basic"), "a2": (None, "plus"), "a3": (30, "plus"), "z1": (1, "plus")}
    now, before = tables.require("raw"), tables.version("raw", 2)
    assert before.parts[1] in now.parts  # no row of far.csv was replaced
    assert rows(tables, 2)["a1"] == (40, "basic")
    newest = versions.history(tables, "raw")[0]
    assert (newest["added"], newest["changed"], newest["removed"]) == (1, 1, 0)
    origin = {row["_row"]: row["_file"] for row in now.to_arrow().to_pylist()}
    assert origin["a1"] == outcome.id != origin["a2"]
    now.verify()


def test_upsert_of_the_same_rows_changes_nothing_and_is_known_afterwards(
    take: Take, tables: TableStore
) -> None:
    take("one.csv", A1, A2, mode="upsert")
    assert take("two.csv", A2, A1, mode="upsert").changes == {"added": 0, "changed": 0, "unchanged": 2}
    assert tables.version("raw", 2).parts == tables.version("raw", 1).parts
    assert take("two.csv", A2, A1, mode="upsert").status == "duplicate"


def test_upsert_of_every_row(take: Take, tables: TableStore) -> None:
    take("one.csv", A1, A2, mode="upsert")
    take("two.csv", A1.replace("40", "41"), A2.replace("plus", "basic"), mode="upsert")
    assert rows(tables) == {"a1": (41, "basic"), "a2": (None, "basic")}
    take("three.csv", A1.replace("40", "42"), mode="upsert")
    assert rows(tables) == {"a1": (42, "basic"), "a2": (None, "basic")}


def test_an_id_twice_in_one_file_is_still_a_reject(take: Take, tables: TableStore) -> None:
    take("one.csv", A1, mode="upsert")
    outcome = take("two.csv", A2, A2, mode="upsert")
    assert (outcome.accepted, outcome.rejected) == (1, 1)
    assert set(rows(tables)) == {"a1", "a2"}


def test_upsert_keeps_other_unique_columns_unique(take: Take, tables: TableStore) -> None:
    unique = ("age: {type: integer,", "age: {type: integer, unique: true,")
    take("one.csv", A1, A2, A3, mode="upsert", change=unique)
    swapped = take("two.csv", A1.replace("40", "30"), A3.replace("30", "40"), mode="upsert")
    assert (swapped.status, rows(tables)["a1"][0]) == ("accepted", 30)
    outcome = take("three.csv", A2.replace(",,", ",30,", 1), mode="upsert")
    assert outcome.status == "refused"
    assert outcome.problem is not None
    assert "'30' would stand in 2 rows" in outcome.problem["detail"]
    assert tables.versions("raw") == [1, 2]


def test_rows_from_before_the_column_was_the_id_are_not_doubled(take: Take, tables: TableStore) -> None:
    take("one.csv", A1, mode="append", change=("role: id", "role: ignore"))
    outcome = take("two.csv", A1.replace("40", "41"), mode="upsert", change=("role: ignore", "role: id"))
    assert outcome.status == "refused"
    assert tables.versions("raw") == [1]


def test_the_table_made_again_is_merged_again(take: Take, tables: TableStore) -> None:
    take("one.csv", A1, A2, mode="append")
    take("two.csv", A1.replace("40", "41"), A3, mode="upsert")
    widened = ("age: {type: integer,", "age: {type: float,")
    take("three.csv", A2.replace(",,", ",7,", 1), mode="upsert", change=widened)
    assert rows(tables) == {"a1": (41.0, "basic"), "a2": (7.0, "plus"), "a3": (30.0, "plus")}
    assert tables.require("raw").schema["age"] == "double"


def test_a_kill_during_an_upsert_leaves_the_old_version(
    take: Take, tables: TableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    take("one.csv", A1, mode="upsert")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ingest, "upsert", killed)
        with pytest.raises(KeyboardInterrupt):
            take("two.csv", A1.replace("40", "41"), mode="upsert")
    assert rows(tables) == {"a1": (40, "basic")}
    assert take("two.csv", A1.replace("40", "41"), mode="upsert").status == "accepted"
    assert rows(tables) == {"a1": (41, "basic")}


@pytest.mark.parametrize("mode", ["upsert", "merge"])
def test_a_mode_that_cannot_be(mode: str, home: Home, shop: Project) -> None:
    file = home.project_file(shop.name)
    file.write_text(file.read_text().replace("role: id", "role: ignore") + f"ingestion: {{mode: {mode}}}\n")
    with pytest.raises(ProjectFileError, match=r"ingestion\.mode"):
        Project.load(file)
