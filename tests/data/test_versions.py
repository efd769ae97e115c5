"""The history of a table: what each version changed, going back, and what stays as it was."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import select

from tidemill import cli
from tidemill.data import table_diff, versions
from tidemill.data.ingest import ingest_pending
from tidemill.data.profile import profile
from tidemill.errors import Conflict, Corrupt, InvalidInput, NotFound
from tidemill.home import Home
from tidemill.project import Project
from tidemill.store.sql import query
from tidemill.store.state import State, files
from tidemill.store.tables import TableStore

GOOD = "a1,40,9.5,basic,yes,2024-01-02,no"
MORE = "a2,,0,plus,no,,yes"


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path / "tables")


def publish(store: TableStore, rows: dict[str, Any], **manifest: Any) -> int:
    frame = pd.DataFrame([{"_row": key, **value} for key, value in rows.items()])
    return store.publish_frame("raw", frame, **manifest).version


def test_a_diff_tells_added_changed_and_removed_rows_apart(store: TableStore) -> None:
    publish(store, {"a": {"n": 1, "c": "x"}, "b": {"n": 2, "c": "y"}, "c": {"n": 3, "c": None}})
    publish(store, {"a": {"n": 1, "c": "x"}, "b": {"n": 9, "c": "y"}, "d": {"n": 4, "c": "z"}})
    found = versions.diff(store, "raw", 1, 2)
    counts = {name: found[name] for name in ("added", "changed", "removed", "unchanged")}
    assert counts == {"added": 1, "changed": 1, "removed": 1, "unchanged": 1}
    assert found["columns_changed"] == {"n": 1}
    assert found["examples"] == {
        "added": [{"_row": "d", "n": 4, "c": "z"}],
        "changed": [{"_row": "b", "n": [2, 9]}],
        "removed": [{"_row": "c", "n": 3, "c": None}],
    }
    assert found["profile"]["n"]["before"]["mean"] == 2.0
    assert found["profile"]["n"]["after"]["max"] == 9
    backwards = versions.diff(store, "raw", 2, 1)
    assert (backwards["added"], backwards["removed"], backwards["changed"]) == (1, 1, 1)


def test_a_diff_tells_columns_that_came_went_and_changed_type(store: TableStore) -> None:
    publish(store, {"a": {"n": 1, "old": "x"}})
    publish(store, {"a": {"n": "1", "new": 2.5}})
    found = versions.diff(store, "raw", 1, 2)
    assert found["columns_added"] == {"new": "double"}
    assert list(found["columns_removed"]) == ["old"]
    assert found["columns_retyped"]["n"][0] == "int64"
    assert found["changed"] == 0  # 1 and "1" are the same value in another type


def test_files_that_both_versions_hold_are_not_read(store: TableStore) -> None:
    publish(store, {"a": {"n": 1}})
    first = store.require("raw")
    publish(store, {"b": {"n": 2}}, inherit=first)
    Path(first.paths[0]).write_bytes(b"gone")
    found = table_diff.compare(first, store.require("raw"))
    assert (found.added, found.removed, found.unchanged) == (1, 0, 1)


def test_at_most_twenty_examples_in_order(store: TableStore) -> None:
    publish(store, {"a": {"n": 1}})
    publish(store, {f"r{index:03d}": {"n": index} for index in range(50)})
    found = versions.diff(store, "raw", 1, 2)
    assert found["added"] == 50
    assert [row["_row"] for row in found["examples"]["added"]] == [f"r{index:03d}" for index in range(20)]


def test_long_text_is_cut_in_examples(store: TableStore) -> None:
    publish(store, {"a": {"c": "x" * 5000}})
    publish(store, {"a": {"c": "y" * 5000}})
    ((row,),) = [found for found in versions.diff(store, "raw", 1, 2)["examples"].values() if found]
    assert [len(text) for text in row["c"]] == [203, 203]


def test_rows_come_and_go_with_an_empty_version(store: TableStore) -> None:
    publish(store, {"a": {"n": 1, "at": pd.Timestamp("2026-01-02"), "x": float("inf")}})
    full = store.require("raw")
    with store.draft("raw") as draft:
        draft.write(full.to_arrow().slice(0, 0))
        store.publish("raw", draft)
    assert versions.diff(store, "raw", 1, 2)["removed"] == 1
    assert versions.diff(store, "raw", 2, 1)["added"] == 1
    shown = versions.describe(store, full)["profile"]
    assert (shown["at"]["min"], shown["x"]["max"], shown["x"]["mean"]) == (
        "2026-01-02T00:00:00",
        "inf",
        "inf",
    )


def test_what_changed_is_kept_and_made_again_when_it_is_gone(store: TableStore) -> None:
    publish(store, {"a": {"n": 1}})
    publish(store, {"a": {"n": 2}, "b": {"n": None}})
    made = versions.describe(store, store.require("raw"))
    assert made["parent"] == 1
    assert (made["changes"]["added"], made["changes"]["changed"]) == (1, 1)
    (column,) = made["profile"].values()
    assert (column["column"], column["type"], column["nulls"], column["distinct"]) == ("n", "double", 1, 1)
    assert (column["min"], column["p50"], column["max"], column["mean"]) == (2.0, 2.0, 2.0, 2.0)
    shown = list(map(list, column["top"])), column["histogram"]
    assert shown == (
        [["2.0", 1]],
        {"edges": [2.0, 2.0], "counts": [1]},
    )
    file = store.root / "raw" / "v000002" / "changes.json"
    assert json.loads(file.read_text()) == json.loads(json.dumps(made))
    file.write_text("{")
    assert json.dumps(versions.describe(store, store.require("raw"))) == json.dumps(made)
    assert versions.profile_of(store, store.require("raw")) == profile(store.require("raw"))
    newest, first = versions.history(store, "raw")
    assert (newest["version"], newest["current"], newest["added"], newest["changed"]) == (2, True, 1, 1)
    assert (first["version"], first["current"], first["added"], first["parent"]) == (1, False, None, None)


def test_what_is_not_there_is_named(store: TableStore) -> None:
    publish(store, {"a": {"n": 1}})
    with pytest.raises(NotFound, match="no such version"):
        versions.diff(store, "raw", 1, 7)
    with pytest.raises(NotFound, match="no such table"):
        versions.history(store, "rows")
    store.publish_frame("other", pd.DataFrame({"n": [1]}))
    with pytest.raises(InvalidInput, match="cannot be compared"):
        versions.diff(store, "other", 1, 1)


def test_a_broken_file_is_corrupt(store: TableStore) -> None:
    publish(store, {"a": {"n": 1}})
    publish(store, {"a": {"n": 2}})
    Path(store.version("raw", 1).paths[0]).write_bytes(b"gone")
    with pytest.raises(Corrupt, match="cannot be read"):
        versions.diff(store, "raw", 1, 2)


@pytest.fixture
def two(home: Home, state: State, shop: Project, drop: Any) -> TableStore:
    """`shop` with two files, a version each."""
    drop("one.csv", GOOD)
    ingest_pending(home, state, shop)
    drop("two.csv", MORE)
    ingest_pending(home, state, shop)
    return TableStore(home.tables("shop"))


def records(state: State) -> dict[str, str]:
    return {row["name"]: row["status"] for row in state.rows(select(files))}


def test_an_ingestion_names_its_parent_and_what_it_changed(two: TableStore) -> None:
    newest, first = versions.history(two, "raw")
    assert (newest["parents"], newest["parent"]) == ({"raw": 1}, 1)
    assert (newest["added"], newest["changed"], newest["removed"], newest["files"]) == (1, 0, 0, ["two.csv"])
    assert (first["parents"], first["files"]) == ({}, ["one.csv"])
    assert (two.root / "raw" / "v000001" / "changes.json").is_file()


def test_a_rollback_is_a_new_version_equal_to_the_old(
    two: TableStore, home: Home, state: State, shop: Project, drop: Any
) -> None:
    made = versions.roll_back(home, state, "shop", 1, "two.csv was wrong")
    assert (made.version, made.rows, made.parents) == (3, 1, {"raw": [2, 1]})
    assert made.sha256 == two.version("raw", 1).sha256
    assert two.versions("raw") == [1, 2, 3]
    assert two.version("raw", 2).rows == 2
    assert records(state) == {"one.csv": "accepted", "two.csv": "refused"}
    newest = versions.history(two, "raw")[0]
    assert newest["note"] == "back to raw@1: two.csv was wrong"
    assert (newest["parent"], newest["removed"]) == (2, 1)
    # The file may come again, as the ledger says.
    drop("two.csv", MORE)
    (outcome,) = ingest_pending(home, state, shop).files
    assert (outcome.status, two.require("raw").rows) == ("accepted", 2)


def test_forward_again_after_a_rollback(two: TableStore, home: Home, state: State) -> None:
    versions.roll_back(home, state, "shop", 1, "a mistake")
    made = versions.roll_back(home, state, "shop", 2, "it was no mistake")
    assert (made.version, made.sha256) == (4, two.version("raw", 2).sha256)
    assert records(state) == {"one.csv": "accepted", "two.csv": "accepted"}


def test_a_rollback_is_refused_without_reason_to_the_current_or_to_broken_bytes(
    two: TableStore, home: Home, state: State
) -> None:
    with pytest.raises(InvalidInput, match="reason"):
        versions.roll_back(home, state, "shop", 1, " ")
    with pytest.raises(Conflict, match="current already"):
        versions.roll_back(home, state, "shop", 2, "r")
    with pytest.raises(NotFound):
        versions.roll_back(home, state, "shop", 9, "r")
    Path(two.version("raw", 1).paths[0]).write_bytes(b"gone")
    with pytest.raises(Corrupt):
        versions.roll_back(home, state, "shop", 1, "r")
    assert two.versions("raw") == [1, 2]


@pytest.mark.usefixtures("two")
def test_earlier_versions_can_be_queried(home: Home) -> None:
    sql = "SELECT (SELECT count(*) FROM raw_v1), (SELECT count(*) FROM RAW_V2), (SELECT count(*) FROM raw)"
    assert query(home, "shop", sql).rows == [[1, 2, 2]]
    with pytest.raises(InvalidInput) as refused:
        query(home, "shop", "SELECT * FROM raw_v9")
    assert refused.value.extra["versions"] == ["raw_v1", "raw_v2"]
    assert "raw_v1, raw_v2" in refused.value.remedy


@pytest.mark.usefixtures("two")
def test_the_commands_say_it_in_words_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str) -> str:
        assert cli.main(["data", *arguments]) == 0
        return capsys.readouterr().out

    assert "two.csv" in said("versions", "shop")
    assert json.loads(said("versions", "shop", "--json"))[0]["version"] == 2
    assert "against version 1: 1 added" in said("show", "shop", "2")
    assert json.loads(said("show", "shop", "--json"))["profile"]["age"]["nulls"] == 1
    assert "rows 1 added, 0 changed, 0 removed" in said("diff", "shop", "1", "2")
    assert json.loads(said("diff", "shop", "1", "2", "--json"))["added"] == 1
    assert "raw@3 is current" in said("rollback", "shop", "1", "--reason", "wrong file")
    assert cli.main(["data", "rollback", "shop", "1"]) == 1
    assert "needs a reason" in capsys.readouterr().err
