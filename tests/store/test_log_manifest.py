"""The manifest of a log: read as it was saved, told when it is damaged."""

import json

import pytest

from tidemill.errors import Corrupt
from tidemill.home import Home
from tidemill.store.history import count
from tidemill.store.log_manifest import Manifest, ParquetPart, load_manifest, save_manifest, stream_folder

from .conftest import PROJECT


def test_a_manifest_is_loaded_as_it_was_saved(home: Home) -> None:
    folder = stream_folder(home, PROJECT, "predictions")
    assert load_manifest(folder) == Manifest()
    part = ParquetPart("2026-03-01/a.parquet", "2026-03-01", 3, 100, "f" * 64)
    manifest = Manifest([part], ["ward.predictions.0.jsonl"], {"2026-03-01/b.parquet": 1.5})
    save_manifest(folder, manifest)
    assert load_manifest(folder) == manifest
    assert manifest.paths(folder) == [str(folder / "2026-03-01" / "a.parquet")]


def test_a_damaged_manifest_is_told(home: Home) -> None:
    folder = stream_folder(home, PROJECT, "predictions")
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"files": 3}))
    with pytest.raises(Corrupt):
        count(home, PROJECT, "predictions")
