"""Fixtures that every part's tests share."""

from pathlib import Path

import pytest

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
