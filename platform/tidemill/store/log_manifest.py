"""The manifest of a log: which Parquet files hold the events of the segments that were closed.

    store/<project>/predictions/<stream>/manifest.json
    store/<project>/predictions/<stream>/<day>/<uuid>.parquet

Here belong the manifest's shape, and loading and saving it: readers go by it and never list the folder. Who reads
events with its help is `store/history.py`, who writes the files that it names `store/compaction.py`. The
manifests of tables are `store/tables.py`'s own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tidemill.errors import Corrupt
from tidemill.home import Home
from tidemill.store.durable import replace_json
from tidemill.store.events import Stream


@dataclass(frozen=True)
class ParquetPart:
    """One Parquet file of a stream; `path` is relative to the stream's folder."""

    path: str
    day: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What readers go by. `sealed`: segments whose events are in `files`; `retired`: path -> when replaced."""

    files: list[ParquetPart] = field(default_factory=list)
    sealed: list[str] = field(default_factory=list)
    retired: dict[str, float] = field(default_factory=dict)

    def paths(self, folder: Path) -> list[str]:
        """Absolute paths of the Parquet files, which lie in the stream's `folder`."""
        return [str(folder / part.path) for part in self.files]


def stream_folder(home: Home, project: str, stream: Stream) -> Path:
    """Where the manifest and the Parquet files of a stream lie."""
    return home.predictions(project) / stream


def load_manifest(folder: Path) -> Manifest:
    """The manifest of a stream; empty before the first compaction. Raises Corrupt."""
    file = folder / "manifest.json"
    try:
        document = json.loads(file.read_text())
        return Manifest(
            [ParquetPart(**part) for part in document["files"]], document["sealed"], document["retired"]
        )
    except FileNotFoundError:
        return Manifest()
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(
            "The manifest of a log is not readable",
            detail=str(file),
            remedy="Restore the file from a backup: it names the Parquet files beside it.",
        ) from error


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest of a stream in one step. Raises StorageFull."""
    replace_json(folder / "manifest.json", asdict(manifest))
