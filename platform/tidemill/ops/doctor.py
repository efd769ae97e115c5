"""`tidemill doctor`: is this machine, this checkout and this home fit to run, and if not, what mends it.

Every check looks and changes nothing, except for one small file written into the home and removed again.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tidemill.console import size
from tidemill.errors import TidemillError
from tidemill.home import CHECKOUT, Home
from tidemill.ops import ports
from tidemill.ops.control import running_state
from tidemill.ops.services import PORTS

PACKAGES = (
    "dagster", "dagster-webserver", "dagster-mlflow", "mlflow", "duckdb", "pandas", "pyarrow", "scikit-learn",
    "fastapi", "uvicorn", "streamlit", "label-studio-sdk",
)  # fmt: skip

_LEAST_DISK = 2_000_000_000
_TIGHT_DISK = 10_000_000_000


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `ok`, a `note` worth knowing, or `wrong`, with the way out in `remedy`."""

    name: str
    state: Literal["ok", "note", "wrong"]
    detail: str
    remedy: str = ""


def examine(home: Home) -> list[Finding]:
    """Look at everything; one finding or more for each check, in the order of CHECKS."""
    return [finding for check in CHECKS for finding in check(home)]


def _python(_home: Home) -> Iterator[Finding]:
    found = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        yield Finding("python", "ok", f"{found} at {sys.executable}")
    else:
        remedy = "Install Python 3.11 or 3.12, remove .venv and run ./tidemill again."
        yield Finding("python", "wrong", f"{found}, but 3.11 or 3.12 is needed", remedy)


def _tools(_home: Home) -> Iterator[Finding]:
    beside = CHECKOUT / ".uv" / "bin" / "uv"
    uv = shutil.which("uv") or (str(beside) if beside.exists() else None)
    if uv:
        yield Finding("uv", "ok", f"{_version([uv, '--version'])} at {uv}")
    else:
        yield Finding(
            "uv", "note", "none found", "None is needed now; ./tidemill brings its own when it must."
        )
    git = shutil.which("git")
    if git:
        yield Finding("git", "ok", _version([git, "--version"]))
    else:
        yield Finding("git", "wrong", "none on PATH", "Install it: apt install git.")


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not answer ({type(error).__name__})"
    return (done.stdout or done.stderr).strip().splitlines()[0] if done.stdout or done.stderr else "no answer"


def _packages(_home: Home) -> Iterator[Finding]:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        remedy = "Remove .venv and run ./tidemill again: it installs what uv.lock says."
        yield Finding("packages", "wrong", f"missing: {', '.join(missing)}", remedy)
    else:
        yield Finding(
            "packages", "ok", "\n".join(", ".join(found[at : at + 4]) for at in range(0, len(found), 4))
        )


def _disk(home: Home) -> Iterator[Finding]:
    free = shutil.disk_usage(_nearest_existing(home.root)).free
    remedy = "Free some space, or move the home with TIDEMILL_HOME."
    if free < _LEAST_DISK:
        yield Finding("disk", "wrong", f"{size(free)} free for {home.root}; 2 GB is the least", remedy)
    elif free < _TIGHT_DISK:
        yield Finding("disk", "note", f"{size(free)} free for {home.root}: enough for now", remedy)
    else:
        yield Finding("disk", "ok", f"{size(free)} free for {home.root}")


def _nearest_existing(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if one.exists())


def _home(home: Home) -> Iterator[Finding]:
    if not home.root.exists():
        above = _nearest_existing(home.root)
        if os.access(above, os.W_OK):
            yield Finding("home", "ok", f"{home.root} is not there yet; the first start makes it")
        else:
            yield Finding(
                "home", "wrong", f"{above} cannot be written", "Choose another home with TIDEMILL_HOME."
            )
        return
    probe = home.root / f".doctor-{uuid.uuid4().hex}"
    try:
        probe.write_bytes(b"tidemill")
        probe.unlink()
    except OSError as error:
        remedy = f"Give this user the folder (chown -R {_user()} {home.root}), or free some disk space."
        yield Finding("home", "wrong", f"{home.root} cannot be written: {error.strerror}", remedy)
        return
    yield Finding("home", "ok", f"{home.root} can be written")
    if home.secrets.exists() and home.secrets.stat().st_mode & 0o077:
        remedy = f"chmod 700 {home.secrets}"
        yield Finding("secrets", "wrong", f"other users can look into {home.secrets}", remedy)


def _user() -> str:
    return os.environ.get("USER") or str(os.getuid())


def _state_db(home: Home) -> Iterator[Finding]:
    if not home.state_db.exists():
        yield Finding("state.db", "ok", "not there yet; the first start makes it")
        return
    remedy = (
        f"Stop Tidemill, move {home.state_db} and its -wal and -shm aside and put a backup in their place."
    )
    try:
        connection = sqlite3.connect(f"file:{home.state_db}?mode=ro", uri=True, timeout=5)
        try:
            answer = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
        finally:
            connection.close()
    except sqlite3.Error as error:
        yield Finding("state.db", "wrong", f"cannot be read: {error}", remedy)
        return
    if answer == ["ok"]:
        yield Finding("state.db", "ok", f"SQLite's quick_check is ok ({size(home.state_db.stat().st_size)})")
    else:
        yield Finding("state.db", "wrong", "\n".join(answer), remedy)


def _settings(_home: Home) -> Iterator[Finding]:
    from tidemill.settings import load_settings

    try:
        host = ports.check_host(load_settings().host)
    except TidemillError as error:
        yield Finding("settings", "wrong", f"{error.title}\n{error.detail}".strip(), error.remedy)
    else:
        yield Finding("settings", "ok", f"valid; the services listen on {host} only")


def _projects(home: Home) -> Iterator[Finding]:
    from tidemill.project import load_project

    names = home.project_names()
    if not names:
        yield Finding(
            "projects", "ok", "none yet; `./tidemill init FILE --name NAME --target COLUMN` makes one"
        )
    for name in names:
        try:
            load_project(home, name)
        except TidemillError as error:
            yield Finding(f"project {name}", "wrong", f"{error.title}\n{error.detail}".strip(), error.remedy)
        else:
            yield Finding(f"project {name}", "ok", "project.yaml is valid")


def _services(home: Home) -> Iterator[Finding]:
    state = running_state(home)
    if state is None:
        yield Finding("services", "ok", "not running; `./tidemill up` starts them")
        yield from _wanted_ports()
        return
    for record in state.services:
        if record.state == "healthy":
            where = f" at {record.url}" if record.url else ""
            yield Finding(f"service {record.service}", "ok", f"healthy{where}")
        elif record.state in ("waiting", "starting"):
            yield Finding(f"service {record.service}", "note", record.state, "Look again in a minute.")
        else:
            detail = f"{record.state}: {record.health}".rstrip(": ")
            remedy = f"See `./tidemill logs {record.service}`."
            yield Finding(f"service {record.service}", "wrong", detail, remedy)


def _wanted_ports() -> Iterator[Finding]:
    taken = [
        f"{port} ({ports.holder(port) or 'another program'})" for port in PORTS.values() if not _free(port)
    ]
    if taken:
        remedy = "None is needed: other ports are chosen and shown at the start."
        yield Finding("ports", "note", f"taken: {', '.join(taken)}", remedy)
    else:
        yield Finding("ports", "ok", f"{', '.join(str(port) for port in PORTS.values())} are free")


def _free(port: int) -> bool:
    return ports.is_free("127.0.0.1", port)


CHECKS: tuple[Callable[[Home], Iterator[Finding]], ...] = (
    _python, _tools, _packages, _disk, _home, _settings, _state_db, _projects, _services,
)  # fmt: skip
