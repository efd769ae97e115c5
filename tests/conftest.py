"""Fixtures that every part's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.label_studio_server import Server, serve
from tidemill.home import Home

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty home of the test's own, which is also the one that TIDEMILL_HOME names."""
    made = Home.find(tmp_path / "home").ensure()
    monkeypatch.setenv("TIDEMILL_HOME", str(made.root))
    return made


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets beside the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the public data sets (../shared/data) are not on this machine")
    return SHARED_DATA


@pytest.fixture(scope="session")
def label_studio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real Label Studio, installed under ~/.cache/tidemill and started when the first test wants it."""
    with serve(tmp_path_factory.mktemp("label-studio") / "home") as server:
        yield server
