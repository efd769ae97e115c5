"""Where everything lies: the folders of one Tidemill home.

Only paths and names belong here. What is written into a folder, and how, is the business of `store/`, `data/`,
`learn/` and `ops/`.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tidemill.errors import InvalidInput, NotFound

PROJECT_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")

CHECKOUT = Path(__file__).resolve().parents[2]


def check_project_name(name: str) -> str:
    """Return `name`, or raise InvalidInput: a project's name becomes folders, asset keys and table names."""
    if not PROJECT_NAME.fullmatch(name):
        raise InvalidInput(
            "That is not a project name",
            detail=f"{name!r} has characters or a length that folders, asset keys and SQL do not share",
            remedy="Use a lower-case letter, then up to 47 lower-case letters, digits or underscores.",
        )
    return name


@dataclass(frozen=True)
class Home:
    """One home. `root` is absolute; nothing is created until `ensure` is called."""

    root: Path

    @classmethod
    def find(cls, explicit: str | Path | None = None) -> Home:
        """The home named by `explicit`, else by $TIDEMILL_HOME, else `.tidemill/` in the checkout."""
        chosen = explicit or os.environ.get("TIDEMILL_HOME") or CHECKOUT / ".tidemill"
        return cls(Path(chosen).expanduser().absolute())

    @property
    def projects(self) -> Path:
        return self.root / "projects"

    @property
    def log(self) -> Path:
        """Open segments of the prediction and ground-truth logs, one writer each."""
        return self.root / "log"

    @property
    def state_db(self) -> Path:
        return self.root / "state.db"

    @property
    def dagster(self) -> Path:
        return self.root / "dagster"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow"

    @property
    def logs(self) -> Path:
        """What the services print, one file each."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Ports, sockets, locks and process ids of what runs now."""
        return self.root / "run"

    @property
    def training_progress(self) -> Path:
        """How far each training of the last days is or was, one small file a run."""
        return self.run / "trainings"

    @property
    def worker_socket(self) -> Path:
        """Where the run worker listens. Unix socket paths have about 100 bytes: a deep home gets a short one."""
        path = self.run / "worker.sock"
        if len(os.fsencode(path)) < 100:
            return path
        short = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"tidemill-{os.getuid()}-{short}.sock"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    def ensure(self) -> Home:
        """Create the folders (secrets private to the user) and return self."""
        for folder in (self.projects, self.log, self.dagster, self.mlflow, self.logs, self.run):
            folder.mkdir(parents=True, exist_ok=True)
        self.secrets.mkdir(mode=0o700, exist_ok=True)
        return self

    def project_names(self) -> list[str]:
        """Names of the projects that have a project.yaml, sorted."""
        return sorted(path.parent.name for path in self.projects.glob("*/project.yaml"))

    def project_file(self, name: str) -> Path:
        return self.projects / check_project_name(name) / "project.yaml"

    def require_project(self, name: str) -> Path:
        """The project's file, or NotFound naming the projects there are."""
        if PROJECT_NAME.fullmatch(name) and (file := self.projects / name / "project.yaml").is_file():
            return file
        known = ", ".join(self.project_names()) or "none yet"
        raise NotFound(
            "There is no such project",
            detail=f"{name!r} is not among the projects of this home ({known})",
            remedy="Check the name, or make the project with `tidemill init FILE --name NAME --target COLUMN`.",
        )

    def inbox(self, name: str) -> Path:
        """Where people and programs drop files for a project."""
        return self.root / "inbox" / check_project_name(name)

    def store(self, name: str) -> Path:
        return self.root / "store" / check_project_name(name)

    def tables(self, name: str) -> Path:
        return self.store(name) / "tables"

    def files(self, name: str) -> Path:
        """The original of every file that was taken or refused, named by content hash."""
        return self.store(name) / "files"

    def models(self, name: str) -> Path:
        return self.store(name) / "models"

    def predictions(self, name: str) -> Path:
        """Closed segments of the prediction and ground-truth logs, as Parquet."""
        return self.store(name) / "predictions"
