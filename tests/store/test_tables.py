"""Table versions: immutable, published in one step, read through their manifest."""

import json
import threading
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from tidemill.errors import Conflict, Corrupt, NotFound
from tidemill.store import tables
from tidemill.store.tables import TableStore


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path / "tables")


def frame(*numbers: int) -> pd.DataFrame:
    return pd.DataFrame({"n": list(numbers)})


def test_a_version_says_what_it_is(store: TableStore) -> None:
    made = store.publish_frame("raw", frame(1, 2), sources=[{"name": "f.csv"}], metadata={"why": "test"})
    assert (made.id, made.rows, made.schema) == ("raw@1", 2, {"n": "int64"})
    assert (made.sources, made.metadata, made.parents) == ([{"name": "f.csv"}], {"why": "test"}, {})
    assert len(made.sha256) == 64
    assert made.commit
    assert store.current("raw") == made == store.require("raw")
    assert made.to_pandas()["n"].tolist() == [1, 2]
    assert made.to_arrow(["n"]).column_names == ["n"]
    made.verify()


def test_a_new_version_leaves_the_old_one(store: TableStore) -> None:
    first = store.publish_frame("raw", frame(1))
    second = store.publish_frame("raw", frame(2), parents={"other": 3})
    assert store.versions("raw") == [1, 2]
    assert store.current("raw") == second
    assert store.version("raw", 1) == first
    assert first.to_pandas()["n"].tolist() == [1]
    assert second.parents == {"other": 3}
    assert store.names() == ["raw"]


def test_an_append_inherits_rows_and_sources(store: TableStore) -> None:
    first = store.publish_frame("raw", frame(1, 2), sources=[{"name": "a"}])
    second = store.publish_frame("raw", frame(3), inherit=first, sources=[{"name": "b"}])
    assert second.to_pandas()["n"].tolist() == [1, 2, 3]
    assert (second.rows, [source["name"] for source in second.sources]) == (3, ["a", "b"])
    assert second.parts[0] == first.parts[0]
    with pytest.raises(Conflict, match="changed meanwhile"):
        store.publish_frame("raw", frame(4), inherit=first)


def test_equal_rows_give_equal_hashes(store: TableStore) -> None:
    one, two = store.publish_frame("a", frame(1, 2)), store.publish_frame("b", frame(1, 2))
    assert one.sha256 == two.sha256
    assert one.sha256 != store.publish_frame("a", frame(2, 1)).sha256


def test_a_stream_of_batches_is_one_part(store: TableStore) -> None:
    with store.draft("raw") as draft:
        draft.write(pa.table({"n": [number]}) for number in range(5))
        draft.write(pa.table({"n": [9]}))
        made = store.publish("raw", draft)
    assert [part.rows for part in made.parts] == [5, 1]
    assert made.to_pandas()["n"].tolist() == [0, 1, 2, 3, 4, 9]


def test_a_draft_that_fails_leaves_nothing(store: TableStore) -> None:
    def failing() -> object:
        yield pa.table({"n": [1]})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), store.draft("raw") as draft:
        draft.write(failing())  # type: ignore[arg-type]
    assert store.current("raw") is None
    assert [path.name for path in (store.root / "raw").iterdir()] == []


@pytest.mark.parametrize("step", ["replace_json", "sync_folder"])
def test_a_crash_while_publishing_leaves_the_old_version(
    store: TableStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    first = store.publish_frame("raw", frame(1))
    true, calls = getattr(tables, step), []

    def crash_later(*args: object, **options: object) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        true(*args, **options)

    monkeypatch.setattr(tables, step, crash_later)
    with pytest.raises(KeyboardInterrupt):
        store.publish_frame("raw", frame(2))
    monkeypatch.undo()
    assert store.current("raw") == first
    third = store.publish_frame("raw", frame(3), inherit=first)
    assert third.to_pandas()["n"].tolist() == [1, 3]


def test_readers_see_whole_versions_while_writers_publish(store: TableStore) -> None:
    store.publish_frame("raw", frame(0))
    ended = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not ended.is_set():
            version = store.require("raw")
            if version.to_pandas()["n"].tolist() != list(range(version.rows)):
                wrong.append(version)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(1, 15):
            store.publish_frame("raw", frame(number), inherit=store.current("raw"))
    finally:
        ended.set()
        reader.join()
    assert wrong == []


def test_what_is_absent_is_named(store: TableStore) -> None:
    assert store.current("raw") is None
    with pytest.raises(NotFound, match="no table raw"):
        store.require("raw")
    store.publish_frame("raw", frame(1))
    with pytest.raises(NotFound) as absent:
        store.version("raw", 7)
    assert absent.value.remedy == "Choose one of 1."


def test_damage_is_found(store: TableStore) -> None:
    made = store.publish_frame("raw", frame(1))
    part = Path(made.paths[0])
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(Corrupt, match="not what was written"):
        made.verify()
    with pytest.raises(Corrupt, match="cannot be read"):
        made.to_arrow()
    part.unlink()
    with pytest.raises(Corrupt, match="cannot be read"):
        made.to_arrow()
    (store.root / "raw" / "v000001" / "manifest.json").write_text("{")
    with pytest.raises(Corrupt, match="manifest"):
        store.current("raw")
    (store.root / "raw" / "current.json").write_text(json.dumps([1]))
    with pytest.raises(Corrupt, match="pointer"):
        store.current("raw")


def test_a_version_without_rows(store: TableStore) -> None:
    made = store.publish_frame("raw", frame())
    assert (made.rows, made.to_arrow().num_rows) == (0, 0)
    with store.draft("none") as draft:
        nothing = store.publish("none", draft)
    assert (nothing.rows, nothing.to_arrow().num_rows) == (0, 0)


def test_a_column_of_nothing_but_empty_cells_is_kept(tmp_path: Path) -> None:
    store = TableStore(tmp_path)
    version = store.publish_frame("raw", pd.DataFrame({"_row": ["a", "b"], "left": [None, None]}))
    assert version.to_pandas()["left"].isna().all()
