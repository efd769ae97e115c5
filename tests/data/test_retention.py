"""Clearing old versions away: what anything needs stays, whatever is killed or broken meanwhile."""

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill import cli
from tidemill.data import retention
from tidemill.data.retention import Pruning, prune
from tidemill.errors import Corrupt, InvalidInput
from tidemill.home import Home
from tidemill.project import Project
from tidemill.store.tables import TableStore, TableVersion

LATER = timedelta(days=2)


@pytest.fixture
def store(home: Home) -> TableStore:
    return TableStore(home.tables("shop"))


@pytest.fixture
def clear(home: Home) -> Callable[..., Pruning]:
    """Prune, two days from now."""
    return lambda keep, **options: prune(home, "shop", keep, moment=datetime.now(UTC) + LATER, **options)


def add(store: TableStore, table: str = "raw", *, inherit: bool = False, **parents: int) -> TableVersion:
    """One more version with one more row."""
    number = max(store.versions(table), default=0) + 1
    frame = pd.DataFrame({"_row": [f"{table}{number}"], "n": [number]})
    base = store.current(table) if inherit else None
    return store.publish_frame(table, frame, inherit=base, parents=dict(parents))


def model(home: Home, number: int, **provenance: Any) -> Path:
    """A bundle of which only the description matters here."""
    folder = home.models("shop") / str(number)
    folder.mkdir(parents=True)
    named = {"version": number, "project": "shop", "task": "binary", "estimator": "linear", "params": {}}
    empty: dict[str, Any] = {"cv": {}, "metrics": {}, "baseline": {}, "candidates": [], "files": {}}
    rest: dict[str, Any] = {
        "metric": "roc_auc",
        "classes": [],
        "positive": None,
        "threshold": None,
        "created": "2026-01-01",
    }
    (folder / "bundle.json").write_text(json.dumps(named | empty | rest | {"provenance": provenance}))
    return folder


def whole(store: TableStore) -> None:
    """Every version left is readable, byte by byte, and each table's current one is there."""
    for table in store.names():
        store.require(table).verify()
        for number in store.versions(table):
            version = store.version(table, number)
            version.verify()
            assert version.to_arrow().num_rows == version.rows


def test_the_newest_stay(store: TableStore, clear: Callable[..., Pruning]) -> None:
    for _ in range(5):
        add(store)
    found = clear(2)
    assert (found.removed, found.kept) == (["raw@1", "raw@2", "raw@3"], {})
    assert found.bytes > 0
    assert store.versions("raw") == [4, 5]
    assert sorted(path.name for path in (store.root / "raw").glob("v*")) == ["v000004", "v000005"]
    whole(store)
    assert add(store).version == 6


def test_files_that_a_kept_version_inherits_stay(store: TableStore, clear: Callable[..., Pruning]) -> None:
    for _ in range(4):
        add(store, inherit=True)
    assert clear(1).removed == ["raw@1", "raw@2", "raw@3"]
    assert store.versions("raw") == [4]
    assert store.require("raw").to_pandas()["n"].tolist() == [1, 2, 3, 4]
    whole(store)
    assert clear(1).removed == []
    add(store)
    assert clear(1).removed == ["raw@4"]
    assert [path.name for path in (store.root / "raw").glob("v*")] == ["v000005"]


def test_what_a_model_was_made_from_stays(
    store: TableStore, home: Home, clear: Callable[..., Pruning]
) -> None:
    for number in range(1, 5):
        add(store)
        add(store, "labels", raw=number)
        add(store, "features", raw=number, labels=number)
    model(home, 1, dataset="raw@1", labels="labels@1", features="features@1", run_id="r")
    model(home, 2, features="features@3")  # the others are known through its parents
    found = clear(1)
    assert found.removed == ["features@2", "labels@2", "raw@2"]
    assert found.kept["raw@1"] == "model 1 was made from it"
    assert found.kept["features@3"] == "model 2 was made from it"
    assert found.kept["raw@3"].endswith("@3 was made from it")
    assert [store.versions(table) for table in store.names()] == [[1, 3, 4]] * 3
    whole(store)


def test_what_a_kept_version_was_made_from_stays(store: TableStore, clear: Callable[..., Pruning]) -> None:
    add(store)
    add(store, "labels", raw=1)
    add(store)
    add(store)
    found = clear(1)
    assert (found.removed, found.kept) == (["raw@2"], {"raw@1": "labels@1 was made from it"})


def test_what_was_current_within_a_day_stays(store: TableStore, home: Home) -> None:
    add(store)
    add(store)
    found = prune(home, "shop", 1)
    assert (found.removed, found.kept) == ([], {"raw@1": "it was current within the last day"})
    assert store.versions("raw") == [1, 2]


def test_the_current_version_stays_also_behind_one_that_never_became_it(
    store: TableStore, clear: Callable[..., Pruning]
) -> None:
    add(store)
    add(store)
    (store.root / "raw" / "current.json").write_text('{"version": 1}')  # killed before the last step
    assert clear(1).removed == []
    whole(store)


def test_nothing_goes_when_a_bundle_cannot_be_read(
    store: TableStore, home: Home, clear: Callable[..., Pruning]
) -> None:
    add(store)
    add(store)
    (model(home, 1, dataset="raw@1") / "bundle.json").write_text("{")
    with pytest.raises(Corrupt):
        clear(1)
    assert store.versions("raw") == [1, 2]


def test_nothing_goes_when_a_manifest_cannot_be_read(
    store: TableStore, clear: Callable[..., Pruning]
) -> None:
    for _ in range(3):
        add(store)
    (store.root / "raw" / "v000002" / "manifest.json").write_text("{")
    with pytest.raises(Corrupt):
        clear(1)
    assert store.versions("raw") == [1, 2, 3]


def test_a_dry_run_removes_nothing(store: TableStore, clear: Callable[..., Pruning]) -> None:
    add(store)
    add(store)
    found = clear(1, dry_run=True)
    assert (found.removed, found.bytes > 0) == (["raw@1"], True)
    assert store.versions("raw") == [1, 2]
    whole(store)


def test_fewer_than_one_is_refused(clear: Callable[..., Pruning]) -> None:
    with pytest.raises(InvalidInput):
        clear(0)


@pytest.mark.parametrize("at", range(7))
def test_a_kill_leaves_what_stays_whole_and_the_next_run_ends_it(
    at: int, store: TableStore, clear: Callable[..., Pruning], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store)
    add(store, inherit=True)
    add(store)
    add(store)
    calls = 0
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        nonlocal calls
        calls += 1
        if calls > at:
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with contextlib.suppress(KeyboardInterrupt):
            clear(1)
    whole(store)
    clear(1)
    assert store.versions("raw") == [4]
    assert [path.name for path in (store.root / "raw").glob("v*")] == ["v000004"]
    whole(store)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=1, max_size=6),
    keep=st.integers(1, 3),
)
def test_whatever_was_made_all_that_models_name_stays(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, bool, int]], keep: int
) -> None:
    home = Home.find(tmp_path_factory.mktemp("home"))
    store = TableStore(home.tables("shop"))
    named: set[tuple[str, int]] = set()
    for number, (inherits, has_model, back) in enumerate(steps, start=1):
        add(store, inherit=inherits)
        raw = max(1, number - back)
        labels = add(store, "labels", raw=raw).version
        features = add(store, "features", raw=raw, labels=labels).version
        if has_model:
            model(
                home, number, dataset=f"raw@{raw}", labels=f"labels@{labels}", features=f"features@{features}"
            )
            named |= {("raw", raw), ("labels", labels), ("features", features)}
    hashes = {name: store.version(*name).sha256 for name in named}
    prune(home, "shop", keep, moment=datetime.now(UTC) + LATER)
    whole(store)
    for name, sha256 in hashes.items():
        assert store.version(*name).sha256 == sha256
    for table in store.names():
        newest = len(steps)
        assert set(range(max(1, newest - keep + 1), newest + 1)) <= set(store.versions(table))
        for number in store.versions(table):
            for parent in retention._made_from(store.version(table, number)):
                assert parent[1] in store.versions(parent[0])


def test_the_command_asks_the_project_and_tells_what_stays(
    store: TableStore, shop: Project, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    add(store)
    add(store)
    assert cli.main(["data", "prune", "shop"]) == 1
    assert "retention.versions is not set" in capsys.readouterr().err
    with home.project_file(shop.name).open("a") as file:
        file.write("retention: {versions: 1}\n")
    assert cli.main(["data", "prune", "shop", "--dry-run"]) == 0
    assert "raw@1 stays: it was current within the last day" in capsys.readouterr().out
    assert cli.main(["data", "prune", "shop", "--keep", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == []
