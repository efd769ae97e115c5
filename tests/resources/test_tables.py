"""Tables as Dagster's IO manager writes, describes and reads them."""

import pandas as pd
import pytest
from dagster import build_input_context, build_output_context

from resources.tables import TableIOManager, TableOutput, preview
from tidemill.errors import NotFound
from tidemill.home import Home
from tidemill.store.tables import TableStore


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"_row": ["a", "b"], "age": [1.5, None], "note": ["x|y", "two\nlines"]})


def test_what_an_asset_returns_is_what_the_next_one_gets(home: Home, frame: pd.DataFrame) -> None:
    manager = TableIOManager(str(home.root))
    context = build_output_context(asset_key=["churn", "raw"])
    manager.handle_output(context, TableOutput(frame, metadata={"why": "test"}))
    version = manager.load_input(build_input_context(asset_key=["churn", "raw"]))
    assert version.id == "raw@1"
    pd.testing.assert_frame_equal(version.to_pandas(), frame)
    shown = context.get_logged_metadata()
    assert shown["dagster/row_count"].value == 2
    assert shown["version"].value == 1
    assert shown["sha256"].value == version.sha256


def test_the_versions_it_was_made_from_are_in_the_manifest(home: Home, frame: pd.DataFrame) -> None:
    manager = TableIOManager(str(home.root))
    store = TableStore(home.tables("churn"))
    raw = store.publish_frame("raw", frame)
    manager.handle_output(
        build_output_context(asset_key=["churn", "labels"]), TableOutput(frame, parents=[raw])
    )
    assert store.require("labels").parents == {"raw": 1}


def test_a_published_version_is_described_and_not_written_again(home: Home, frame: pd.DataFrame) -> None:
    store = TableStore(home.tables("churn"))
    version = store.publish_frame("raw", frame)
    TableIOManager(str(home.root)).handle_output(build_output_context(asset_key=["churn", "raw"]), version)
    assert store.versions("raw") == [1]


def test_a_draft_is_published_and_leaves_nothing_aside(home: Home, frame: pd.DataFrame) -> None:
    store = TableStore(home.tables("churn"))
    draft = store.draft("raw")
    draft.write(frame)
    draft.write(frame)
    TableIOManager(str(home.root)).handle_output(
        build_output_context(asset_key=["churn", "raw"]), TableOutput(draft)
    )
    assert store.require("raw").rows == 4
    assert not list((home.tables("churn") / "raw").glob(".draft-*"))


def test_a_table_that_was_never_made_says_how_to_make_it(home: Home) -> None:
    with pytest.raises(NotFound, match="no table labels yet") as caught:
        TableIOManager(str(home.root)).load_input(build_input_context(asset_key=["churn", "labels"]))
    assert "Materialise" in caught.value.remedy


def test_a_preview_keeps_its_shape_whatever_the_cells_hold(home: Home, frame: pd.DataFrame) -> None:
    lines = preview(TableStore(home.tables("churn")).publish_frame("raw", frame)).splitlines()
    assert len(lines) == 4
    assert all(line.replace("\\|", "").count("|") == 4 for line in lines)
