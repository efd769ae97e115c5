"""The home as a Dagster resource: assets reach projects, tables and control state through it.

The same key, `home`, in every deployment; only the folder changes.
"""

from __future__ import annotations

from dagster import ConfigurableResource

from tidemill.home import Home
from tidemill.project import Project, load_project
from tidemill.settings import load_settings
from tidemill.store.state import State, open_state
from tidemill.store.tables import TableStore


class HomeResource(ConfigurableResource):  # type: ignore[type-arg]
    """One Tidemill home at `root` (an absolute path)."""

    root: str

    @property
    def home(self) -> Home:
        return Home.find(self.root)

    def state(self) -> State:
        return open_state(self.home, load_settings().database_url)

    def project(self, name: str) -> Project:
        """The project as its file says now, not as it was when the code location was loaded."""
        return load_project(self.home, name)

    def tables(self, name: str) -> TableStore:
        return TableStore(self.home.tables(name))
