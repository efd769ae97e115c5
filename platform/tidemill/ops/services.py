"""Which services Tidemill consists of, as data: command, environment, health, and what each needs first.

How they are kept running is in `supervisor.py`; what they do is in `api/`, `ui/`, `assets/` and `resources/`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tidemill.home import CHECKOUT, Home
from tidemill.ops import label_studio, mlflow_page
from tidemill.ops.health import Check, grpc_check, heartbeat_check, http_check, ping_check
from tidemill.ops.ports import url_of

# Preferred ports; `ports.choose` finds others when these are taken.
PORTS = {"api": 8700, "ui": 8701, "dagster": 8702, "code": 8703, "label_studio": 8704}

LOCATION = "tidemill"


@dataclass(frozen=True)
class Service:
    """One process tree that the supervisor keeps running.

    `needs` names services that must be healthy before this one starts. Without `health` a service counts as
    healthy once it has lived for `settle` seconds. Times are in seconds.
    """

    name: str
    title: str
    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path = CHECKOUT
    health: Check | None = None
    needs: Sequence[str] = ()
    host: str = "127.0.0.1"
    port: int | None = None
    url: str | None = None
    stop_signal: int = signal.SIGTERM
    # Started anew when a project file is added or changed.
    reload_on_projects: bool = False
    # Started once this is true, at the start or when a project file changes; without it always.
    wanted: Callable[[], bool] | None = None
    # Looked at each second: started as soon as it is wanted, ended when it is so no more.
    on_demand: bool = False
    # Tidemill counts as running without it: it may take minutes to install.
    optional: bool = False
    settle: float = 1.0
    start_timeout: float = 180.0
    hang_after: float = 45.0
    grace: float = 10.0
    probe_every: float = 3.0


@dataclass(frozen=True)
class Site:
    """What the services of one home share."""

    home: Home
    host: str
    ports: Mapping[str, int]
    home_id: str
    owner_key: str = field(repr=False)
    checkout: Path = CHECKOUT

    def url(self, name: str) -> str:
        return url_of(self.host, self.ports[name])

    @property
    def workspace_file(self) -> Path:
        return self.home.run / "workspace.yaml"


def tidemill_services(site: Site) -> list[Service]:
    """The services of a home, in the order in which they are shown."""
    return [
        _api(site),
        _ui(site),
        _dagster(site),
        _daemon(site),
        _code(site),
        _worker(site),
        _label_studio(site),
        _mlflow(site),
    ]


def write_workspace(site: Site) -> Path:
    """Tell Dagster's webserver and daemon where the code server listens."""
    # JSON is YAML: no YAML library is needed here, and no quoting can go wrong.
    server = {"host": site.host, "port": site.ports["code"], "location_name": LOCATION}
    site.workspace_file.write_text(json.dumps({"load_from": [{"grpc_server": server}]}, indent=2) + "\n")
    return site.workspace_file


def environment(site: Site) -> dict[str, str]:
    """The environment of every service: ours on top of what the user has."""
    unproxied = [
        os.environ.get("NO_PROXY") or os.environ.get("no_proxy", ""),
        "127.0.0.1",
        "localhost",
        "::1",
    ]
    no_proxy = ",".join(part for part in unproxied if part)
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        # Without cached bytecode each start compiles thousands of modules anew; the environment is our own.
        **inherited,
        # Dagster starts `dagster` by name in places; it must be the one beside this Python.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "TIDEMILL_HOME": str(site.home.root),
        "TIDEMILL_HOME_ID": site.home_id,
        "TIDEMILL_HOST": site.host,
        **{f"TIDEMILL_{name.upper()}_PORT": str(port) for name, port in site.ports.items()},
        "TIDEMILL_API_URL": site.url("api"),
        "DAGSTER_HOME": str(site.home.dagster),
        "PYTHONUNBUFFERED": "1",
        # One heap per thread is glibc's default and costs tens of MB in each service.
        "MALLOC_ARENA_MAX": "2",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }


def _api(site: Site) -> Service:
    return Service(
        name="api",
        title="API",
        command=[sys.executable, "-m", "api"],
        env=environment(site),
        cwd=site.checkout,
        host=site.host,
        port=site.ports["api"],
        url=site.url("api"),
        health=http_check(
            f"{site.url('api')}/healthz", json_members={"service": "tidemill", "home_id": site.home_id}
        ),
    )


def _ui(site: Site) -> Service:
    options = {
        "server.port": str(site.ports["ui"]),
        "server.address": site.host,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "global.developmentMode": "false",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    return Service(
        name="ui",
        title="Dashboard",
        command=[sys.executable, "-m", "streamlit", "run", "ui/app.py", *flags],
        env={**environment(site), "TIDEMILL_API_KEY": site.owner_key},
        cwd=site.checkout,
        needs=["api"],
        host=site.host,
        port=site.ports["ui"],
        url=site.url("ui"),
        health=http_check(f"{site.url('ui')}/_stcore/health"),
    )


def _dagster(site: Site) -> Service:
    port = site.ports["dagster"]
    command = [sys.executable, "-m", "dagster_webserver", "-h", site.host, "-p", str(port)]
    return Service(
        name="dagster",
        title="Dagster",
        command=[*command, "-w", str(site.workspace_file)],
        env=environment(site),
        cwd=site.checkout,
        needs=["code"],
        host=site.host,
        port=port,
        url=site.url("dagster"),
        health=http_check(f"{site.url('dagster')}/server_info"),
    )


def _daemon(site: Site) -> Service:
    return Service(
        name="daemon",
        title="Dagster daemon",
        command=[sys.executable, "-m", "dagster._daemon", "run", "-w", str(site.workspace_file)],
        env=environment(site),
        cwd=site.checkout,
        # It hands runs that have waited to the worker, which first fails those that a crash left behind.
        needs=["code", "worker"],
        health=heartbeat_check(site.home.dagster / "history" / "runs.db"),
    )


def _code(site: Site) -> Service:
    port = site.ports["code"]
    command = [sys.executable, "-m", "dagster", "api", "grpc", "--module-name", "assets.definitions"]
    where = ["--host", site.host, "--port", str(port), "--location-name", LOCATION]
    return Service(
        name="code",
        title="Dagster code server",
        command=[*command, *where, "--use-python-environment-entry-point"],
        env=environment(site),
        cwd=site.checkout,
        host=site.host,
        port=port,
        health=grpc_check(site.host, port, "DagsterApi"),
        reload_on_projects=True,
    )


def _worker(site: Site) -> Service:
    return Service(
        name="worker",
        title="Run worker",
        command=[sys.executable, "-m", "resources.run_worker"],
        env=environment(site),
        cwd=site.checkout,
        # While it warms up an answer may wait for one import.
        health=ping_check(site.home.worker_socket, timeout=15.0),
    )


def _label_studio(site: Site) -> Service:
    """Loopback over IPv4 always: it listens on one address, and its allowed hosts name that one."""
    port = site.ports["label_studio"]
    return Service(
        name="label-studio",
        title="Label Studio",
        command=[sys.executable, "-m", "tidemill.ops.label_studio", str(site.home.root), str(port)],
        env=environment(site),
        cwd=site.checkout,
        port=port,
        url=url_of("127.0.0.1", port),
        health=label_studio.health(site.home, port),
        wanted=lambda: label_studio.is_wanted(site.home),
        optional=True,
        # The first time it is installed, which a slow mirror may take long over.
        start_timeout=1800.0,
        hang_after=90.0,
    )


def _mlflow(site: Site) -> Service:
    """Behind the API alone: no port, and a socket that only this user may open."""
    return Service(
        name="mlflow",
        title="MLflow",
        command=[sys.executable, "-m", "resources.mlflow_server", str(site.home.root)],
        env=environment(site),
        cwd=site.checkout,
        health=mlflow_page.health(site.home),
        wanted=lambda: mlflow_page.is_wanted(site.home),
        on_demand=True,
        optional=True,
    )
