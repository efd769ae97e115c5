"""Taking files in: all rows accounted for, all or nothing, and nothing lost or doubled by a crash."""

import csv
import errno
import os
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.data import accept, ingest, ledger, staging
from tidemill.data.ingest import FileOutcome, Ingestion, ingest_pending
from tidemill.errors import ContractViolation, Corrupt, StorageFull
from tidemill.home import Home
from tidemill.project import Project
from tidemill.store.state import State, open_state
from tidemill.store.tables import TableStore

Drop = Callable[..., Path]
GOOD = "a1,40,9.5,basic,yes,2024-01-02,no"
ALSO_GOOD = "a2,,0,plus,no,,yes"


@pytest.fixture
def run(home: Home, state: State, shop: Project) -> Callable[[], Ingestion]:
    """Ingest what waits, in the name of a process that has just started."""
    return lambda: ingest_pending(home, state, shop)


def rejects(home: Home, outcome: FileOutcome) -> list[dict[str, str]]:
    with ledger.rejects_file(home, "shop", outcome.id).open(newline="") as handle:
        return list(csv.DictReader(handle))


def raw(home: Home) -> list[dict[str, Any]]:
    version = TableStore(home.tables("shop")).current("raw")
    return version.to_arrow().to_pylist() if version else []


def test_rows_become_typed_rows_with_their_origin(
    run: Callable[[], Ingestion], home: Home, drop: Drop
) -> None:
    path = drop("one.csv", GOOD, ALSO_GOOD)
    result = run()
    (outcome,) = result.files
    assert (outcome.status, outcome.rows, outcome.accepted, outcome.rejected) == ("accepted", 2, 2, 0)
    assert result.version is not None
    assert result.version.schema == {
        "_row": "string",
        "_file": "string",
        "_line": "int64",
        "id": "string",
        "age": "int64",
        "spend": "double",
        "plan": "string",
        "member": "bool",
        "seen": "date32[day]",
        "churn": "string",
    }
    (source,) = result.version.sources
    assert source["found"] == {"format": "csv", "encoding": "utf-8", "delimiter": ",", "decimal": "."}
    first, second = raw(home)
    assert (first["_row"], first["_line"], first["_file"]) == ("a1", 2, outcome.id)
    assert (first["age"], first["member"], str(first["seen"])) == (40, True, "2024-01-02")
    assert (second["age"], second["spend"], second["seen"]) == (None, 0.0, None)
    assert not path.exists()
    assert [kept.name for kept in home.files("shop").iterdir()] == [f"{outcome.id}-one.csv"]


def test_rejects_name_line_column_value_and_reason(
    run: Callable[[], Ingestion], home: Home, drop: Drop
) -> None:
    drop(
        "one.csv", GOOD, "a2,old,-1,gold,yes,,no", "a3,1,1", ALSO_GOOD, "a1,1,1,basic,,,no", ",1,1,plus,,,no"
    )
    (outcome,) = run().files
    assert (outcome.status, outcome.rows, outcome.accepted, outcome.rejected) == ("refused", 6, 0, 4)
    found = [(row["line"], row["column"], row["value"]) for row in rejects(home, outcome)]
    assert found == [
        ("3", "age", "old"),
        ("3", "plan", "gold"),
        ("3", "spend", "-1"),
        ("4", "", "a3, 1, 1"),
        ("6", "id", "a1"),
        ("7", "id", ""),
    ]
    assert outcome.problem is not None
    assert "4 of 6 rows" in outcome.problem["detail"]
    assert run().version is None


def test_few_bad_rows_leave_the_others_in(run: Callable[[], Ingestion], home: Home, drop: Drop) -> None:
    drop("one.csv", GOOD, ALSO_GOOD, "a3,old,1,basic,,,no")
    (outcome,) = run().files
    assert (outcome.status, outcome.accepted, outcome.rejected) == ("accepted", 2, 1)
    assert [(row["line"], row["reason"]) for row in rejects(home, outcome)] == [("4", "not an integer")]
    assert len(raw(home)) == 2


@pytest.mark.parametrize(("most", "status"), [(1, "accepted"), (0, "refused")])
def test_rejects_are_limited_by_count_as_well(
    home: Home, state: State, shop: Project, drop: Drop, most: int, status: str
) -> None:
    limited = shop.model_copy(update={"rejects": shop.rejects.model_copy(update={"max_rows": most})})
    drop("one.csv", GOOD, ALSO_GOOD, "a3,old,1,basic,,,no")
    (outcome,) = ingest_pending(home, state, limited).files
    assert outcome.status == status
    if outcome.problem is not None:
        assert "1 of 3 rows, at most 0.5 of them and at most 0 may be rejected" in outcome.problem["detail"]


def test_an_id_may_not_occur_again_in_a_later_file(
    run: Callable[[], Ingestion], home: Home, drop: Drop
) -> None:
    drop("one.csv", GOOD)
    run()
    drop("two.csv", ALSO_GOOD, GOOD.replace("40", "41"))
    (outcome,) = run().files
    assert (outcome.accepted, outcome.rejected) == (1, 1)
    assert "the table holds already" in rejects(home, outcome)[0]["reason"]


def test_duplicates_are_found_across_chunks(
    run: Callable[[], Ingestion], drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "CHUNK_ROWS", 2)
    lines = [GOOD.replace("a1", f"b{number}") for number in (1, 2, 3, 1, 4, 4)]
    drop("one.csv", *lines)
    (outcome,) = run().files
    assert (outcome.rows, outcome.accepted, outcome.rejected) == (6, 4, 2)


def test_a_rejected_row_does_not_take_an_id(run: Callable[[], Ingestion], home: Home, drop: Drop) -> None:
    drop("one.csv", "a1,old,1,basic,,,no", GOOD)
    (outcome,) = run().files
    assert (outcome.accepted, outcome.rejected) == (1, 1)
    assert raw(home)[0]["_line"] == 3


def test_columns_may_come_in_any_order(run: Callable[[], Ingestion], home: Home, drop: Drop) -> None:
    drop("one.csv", "no,2024-01-02,true,plus,1.5,33,z9", header="churn,seen,member,plan,spend,age,id")
    assert run().files[0].status == "accepted"
    assert raw(home)[0]["_row"] == "z9"


def test_other_columns_refuse_the_file_and_say_which(run: Callable[[], Ingestion], drop: Drop) -> None:
    drop("one.csv", GOOD, header="id,Age,spend,plan,member,seen,verdict")
    (outcome,) = run().files
    assert outcome.problem is not None
    assert outcome.problem["diff"] == {
        "missing": ["age", "churn"],
        "added": ["Age", "verdict"],
        "renamed": [{"expected": "age", "found": "Age"}],
    }


def test_a_refused_file_leaves_the_old_version_and_lets_others_in(
    run: Callable[[], Ingestion], home: Home, state: State, drop: Drop
) -> None:
    drop("one.csv", GOOD)
    before = run().version
    bad = drop("bad.csv", "x,y", header="what,ever")
    garbage = home.inbox("shop") / "garbage.csv"
    garbage.write_bytes(os.urandom(4_000))
    os.utime(garbage, (1, 1))
    result = run()
    assert {outcome.status for outcome in result.files} == {"refused"}
    assert result.version == before
    assert not bad.exists()
    assert not garbage.exists()
    drop("other.csv", "x", header="what")
    drop("fine.csv", ALSO_GOOD)
    assert [outcome.status for outcome in run().files] == ["refused", "accepted"]
    assert len(raw(home)) == 2
    statuses = sorted(record["status"] for record in ledger.list_files(state, "shop"))
    assert statuses == ["accepted", "accepted", "refused", "refused", "refused"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("empty.csv", b""), ("header.csv", b"id,age\n"), ("wrong.pdf", b"%PDF"), ("book.xlsx", b"no book")],
)
def test_files_that_are_no_tables_are_refused_with_a_way_out(
    run: Callable[[], Ingestion], home: Home, shop: Project, name: str, content: bytes
) -> None:
    path = home.inbox(shop.name) / name
    path.write_bytes(content)
    os.utime(path, (1, 1))
    (outcome,) = run().files
    assert outcome.status == "refused"
    assert outcome.problem is not None
    assert name in outcome.problem["detail"]
    assert outcome.problem["remedy"]
    assert not path.exists()


def test_the_same_bytes_come_in_once(run: Callable[[], Ingestion], home: Home, drop: Drop) -> None:
    drop("one.csv", GOOD)
    drop("copy.csv", GOOD)
    first, second = run().files
    assert (first.status, second.status) == ("accepted", "duplicate")
    drop("again.csv", GOOD)
    (third,) = run().files
    assert (third.status, third.accepted, third.name) == ("duplicate", 1, "one.csv")
    assert len(raw(home)) == 1
    assert not list(home.inbox("shop").iterdir())


def test_a_refused_file_comes_in_once_the_contract_is_mended(
    run: Callable[[], Ingestion], home: Home, state: State, shop: Project, drop: Drop
) -> None:
    old = "a1,130,1,basic,,,no"
    drop("one.csv", old)
    assert run().files[0].status == "refused"
    columns = shop.columns | {"age": shop.columns["age"].model_copy(update={"max": 150.0})}
    drop("one.csv", old)
    (outcome,) = ingest_pending(home, state, shop.model_copy(update={"columns": columns})).files
    assert outcome.status == "accepted"


def test_an_unreadable_file_stays_and_others_go_on(
    run: Callable[[], Ingestion], drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = drop("locked.csv", GOOD)
    drop("open.csv", ALSO_GOOD)
    true_open = Path.open

    def refusing(path: Path, *args: Any, **options: Any) -> Any:
        if path == locked:
            raise PermissionError(13, "Permission denied")
        return true_open(path, *args, **options)

    monkeypatch.setattr(Path, "open", refusing)
    first, second = run().files
    assert (first.id, first.status, second.status) == ("", "refused", "accepted")
    assert locked.exists()


def test_a_file_that_changes_while_it_is_copied_is_left_alone(
    run: Callable[[], Ingestion], drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = drop("one.csv", GOOD)
    true_fsync = os.fsync

    def grow(descriptor: int) -> None:
        true_fsync(descriptor)
        if path.exists():
            path.write_text("longer than before" * 100)

    monkeypatch.setattr("tidemill.data.ingest.os.fsync", grow)
    (outcome,) = run().files
    assert (outcome.id, outcome.status) == ("", "refused")
    assert path.exists()


STEPS = [
    "tidemill.data.ingest._copy_hashed",
    "tidemill.data.ingest.ledger.receive",
    "tidemill.data.ingest.open_source",
    "tidemill.data.ingest.check_share",
    "tidemill.data.ingest._Run._source",
    "tidemill.store.tables.replace_json",
    "tidemill.store.tables.sync_folder",
    "tidemill.data.ingest.ledger.finish",
    "pathlib.Path.unlink",
]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_loses_and_doubles_nothing(
    home: Home, state: State, shop: Project, drop: Drop, step: str, after: bool
) -> None:
    drop("one.csv", GOOD, "a3,old,1,basic,,,no")
    with pytest.MonkeyPatch.context() as patched:
        kill(patched, step, after)
        with pytest.raises(Killed):
            ingest_pending(home, state, shop)
    drop("two.csv", ALSO_GOOD)
    result = ingest_pending(home, open_state(home), shop)
    assert {outcome.status for outcome in result.files} <= {"accepted", "duplicate"}
    assert [row["_row"] for row in raw(home)] == ["a1", "a2"]
    records = {record["name"]: record for record in ledger.list_files(state, "shop")}
    assert {name: record["status"] for name, record in records.items()} == {
        "one.csv": "accepted",
        "two.csv": "accepted",
    }
    assert (records["one.csv"]["accepted"], records["one.csv"]["rejected"]) == (1, 1)
    assert not list(home.inbox("shop").iterdir())
    assert len(list(home.files("shop").iterdir())) == 2


def kill(patched: pytest.MonkeyPatch, step: str, after: bool) -> None:
    owner_name, name = step.rsplit(".", 1)
    owner = pkgutil.resolve_name(owner_name)
    true = getattr(owner, name)

    def killed(*args: Any, **options: Any) -> Any:
        if after:
            true(*args, **options)
        raise Killed

    patched.setattr(owner, name, killed)


def test_lost_rows_are_an_error_not_a_version(
    run: Callable[[], Ingestion], home: Home, drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = accept.Acceptor._accepted

    def one_short(self: accept.Acceptor, taken: accept.Taken | None) -> pa.Table:
        table = true(self, taken)
        self.tally.accepted -= 1
        return table[:-1]

    monkeypatch.setattr(accept.Acceptor, "_accepted", one_short)
    drop("one.csv", GOOD, ALSO_GOOD)
    with pytest.raises(Corrupt, match="Rows were lost"):
        run()
    assert raw(home) == []


def test_a_change_of_columns_makes_the_table_again_from_the_originals(
    run: Callable[[], Ingestion], home: Home, state: State, shop: Project, drop: Drop
) -> None:
    drop("one.csv", GOOD)
    drop("two.csv", ALSO_GOOD)
    before = run().version
    assert before is not None
    columns = shop.columns | {"age": shop.columns["age"].model_copy(update={"type": "float"})}
    version = ingest_pending(home, state, shop.model_copy(update={"columns": columns})).version
    assert version is not None
    assert (version.version, version.rows) == (before.version + 1, 2)
    assert version.schema["age"] == "double"
    assert [source["name"] for source in version.sources] == ["one.csv", "two.csv"]
    narrow = shop.columns | {"spend": shop.columns["spend"].model_copy(update={"type": "date", "min": None})}
    with pytest.raises(ContractViolation, match="no longer fits"):
        ingest_pending(home, state, shop.model_copy(update={"columns": narrow}))
    assert TableStore(home.tables("shop")).current("raw") == version


def test_without_an_id_column_rows_are_named_by_file_and_line(
    home: Home, state: State, shop: Project, drop: Drop
) -> None:
    columns = {name: column for name, column in shop.columns.items() if name != "id"}
    drop("one.csv", "40,9.5,basic,yes,2024-01-02,no", header="age,spend,plan,member,seen,churn")
    result = ingest_pending(home, state, shop.model_copy(update={"columns": columns}))
    sha256 = ledger.list_files(state, "shop")[0]["sha256"]
    assert result.version is not None
    assert raw(home)[0]["_row"] == f"{sha256[:12]}:2"


def test_progress_is_told(home: Home, state: State, shop: Project, drop: Drop) -> None:
    drop("one.csv", GOOD, ALSO_GOOD)
    told: list[tuple[str, str, int]] = []
    ingest_pending(home, state, shop, lambda step: told.append((step.name, step.phase, step.rows)))
    assert told == [("one.csv", "opening", 0), ("one.csv", "reading", 2), ("one.csv", "publishing", 2)]


def test_names_are_made_safe() -> None:
    assert ingest.safe_name("../Größe 1.csv") == "_Gr_e_1.csv"
    assert ingest.safe_name("x" * 200 + ".csv").endswith("x.csv")


# No control characters: a file full of them is no text, and test_read.py has the line ends.
CELL = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8) | st.sampled_from(
    ["1", "-1", "2.5", "a1", "basic", "plus", "yes", "no", "2024-01-01", "NA", ""]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(CELL, min_size=6, max_size=8), min_size=1, max_size=10))
def test_every_row_of_any_file_is_accepted_or_rejected(
    home: Home, state: State, shop: Project, table: list[list[str]]
) -> None:
    lenient = shop.model_copy(update={"rejects": shop.rejects.model_copy(update={"max_share": 1.0})})
    path = home.inbox("shop") / "any.csv"
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, quoting=csv.QUOTE_ALL).writerows([list(shop.columns), *table])
    os.utime(path, (1, 1))
    (outcome,) = ingest_pending(home, state, lenient).files
    assert outcome.rows == len(table)
    lines = {row["line"] for row in rejects(home, outcome)}
    if outcome.status == "refused":
        assert len(lines) == outcome.rejected == outcome.rows
    else:
        assert (outcome.accepted or 0) + (outcome.rejected or 0) == outcome.rows
        assert len(lines) == outcome.rejected


def test_a_full_disk_is_said_and_the_file_waits(
    run: Callable[[], Ingestion], home: Home, drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop("one.csv", GOOD)
    before = run().version
    path = drop("two.csv", ALSO_GOOD)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("tidemill.data.ingest.os.fsync", full)
        with pytest.raises(StorageFull):
            run()
    assert path.exists()
    assert TableStore(home.tables("shop")).current("raw") == before
    assert [outcome.status for outcome in run().files] == ["accepted"]


def test_a_file_is_read_as_the_contract_says(home: Home, state: State, drop: Drop) -> None:
    file = home.project_file("shop")
    text = file.read_text().replace("seen: {type: date}", "seen: {type: date, format: '%d/%m/%Y'}")
    text = text.replace("spend: {type: float,", "spend: {type: float, thousands: '.',")
    file.write_text(text + "reading: {delimiter: ';', header_row: 2}\n")
    rows = ("id;age;spend;plan;member;seen;churn", "a;1;1.234,5;basic;yes;03/04/2024;no")
    drop("one.csv", *rows, header="Report, of May, with commas")
    assert ingest_pending(home, state, Project.load(file)).files[0].status == "accepted"
    (row,) = raw(home)
    assert (row["_line"], row["spend"], str(row["seen"])) == (3, 1234.5, "2024-04-03")
