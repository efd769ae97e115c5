"""What must be done before the services start, in a process of its own: `python -m tidemill.ops.boot`.

Reading the settings, the tables of the control database and Dagster's instance take libraries of a hundred
megabytes; the supervisor lives as long as Tidemill is up and must stay small. So it starts this module, reads
one line of JSON from it, and forgets the rest.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass

from tidemill.errors import NotReady, TidemillError
from tidemill.home import CHECKOUT, Home
from tidemill.store.durable import replace_bytes

_TIMEOUT = 180


@dataclass(frozen=True)
class Prepared:
    """What the supervisor needs to know. `ports` holds those demanded by settings."""

    host: str
    ports: dict[str, int | None]
    owner_key: str


def prepare(home: Home) -> Prepared:
    """Prepare `home` in a process of its own. Raises TidemillError with the reason when that fails."""
    command = [sys.executable, "-m", "tidemill.ops.boot", str(home.root)]
    log = home.logs / "prepare.log"
    with open(log, "wb") as errors:
        try:
            done = subprocess.run(
                command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                timeout=_TIMEOUT, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise NotReady(
                "The home could not be prepared in time",
                detail=f"{home.root} was not ready after {_TIMEOUT} s",
                remedy=f"See {log} and `./tidemill doctor`; is the disk slow or full?",
            ) from None
    lines = done.stdout.decode(errors="replace").splitlines()
    try:
        answer = json.loads(lines[-1])
    except (IndexError, ValueError):
        answer = {}
    if "error" in answer:
        raise TidemillError(**answer["error"])
    if done.returncode != 0 or not answer:
        reason = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it gave no reason"]
        raise NotReady(
            "The home could not be prepared",
            detail=f"{home.root}: {reason[0]}",
            remedy=f"The whole story is in {log}; `./tidemill doctor` may name the cause.",
        )
    return Prepared(**answer)


def make_dagster_storage(home: Home) -> None:
    """Make or migrate Dagster's databases, once for each of its versions.

    Its services do so themselves, but all at once, and then one finds tables that another has just made.
    """
    stamp = home.dagster / ".storage-version"
    version = importlib.metadata.version("dagster")
    if stamp.exists() and stamp.read_text() == version:
        return
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "instance", "migrate"],
        cwd=CHECKOUT,
        env={**os.environ, "DAGSTER_HOME": str(home.dagster), "DAGSTER_DISABLE_TELEMETRY": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode != 0:
        raise NotReady(
            "Dagster's databases could not be made",
            detail="\n".join((done.stderr or done.stdout).strip().splitlines()[-5:]),
            remedy=f"Mend what it says about {home.dagster}, then try again.",
        )
    replace_bytes(stamp, version.encode())


def main(root: str) -> int:
    """Prepare the home at `root` and print one line of JSON: a Prepared, or an error."""
    try:
        prepared = _prepare_here(Home.find(root))
    except TidemillError as error:
        fault = {"title": error.title, "detail": error.detail, "remedy": error.remedy}
        print(json.dumps({"error": fault}), flush=True)
        return 1
    print(json.dumps(asdict(prepared)), flush=True)
    return 0


def _prepare_here(home: Home) -> Prepared:
    from tidemill.ops.keys import ensure_owner_key
    from tidemill.ops.ports import check_host
    from tidemill.ops.prepare import prepare_home
    from tidemill.settings import load_settings
    from tidemill.store.state import open_state

    settings = load_settings()
    host = check_host(settings.host)
    prepare_home(home)
    make_dagster_storage(home)
    ports = {
        "api": settings.api_port,
        "ui": settings.ui_port,
        "dagster": settings.dagster_port,
        "code": settings.code_port,
        "label_studio": settings.label_studio_port,
    }
    return Prepared(
        host=host, ports=ports, owner_key=ensure_owner_key(home, open_state(home, settings.database_url))
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
