"""A Label Studio of our own: its environment, its secrets, and the process that becomes it.

`python -m tidemill.ops.label_studio HOME PORT` installs what `deploy/label-studio.lock` lists into
`HOME/labelstudio/env` unless it is there, then turns into the server. It has an environment of its own since in
ours it would force old versions of what learning needs. The supervisor runs that command as a service.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from tidemill.errors import NotReady, TidemillError
from tidemill.home import CHECKOUT, Home
from tidemill.ops.health import Check, Unhealthy, http_check
from tidemill.store.durable import replace_bytes

LOCK = CHECKOUT / "platform" / "deploy" / "label-studio.lock"
OWNER = "owner@tidemill.local"
NOWHERE = "http://127.0.0.1:9"


def is_wanted(home: Home) -> bool:
    """Whether a project wants labels from a Label Studio of ours. A file that is not valid wants nothing.

    Only these two lines are read: reading the whole contract takes libraries that the supervisor does without.
    """
    return any(_wants(home.project_file(name)) for name in home.project_names())


def _wants(file: Path) -> bool:
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return False
    labels = content.get("labels") if isinstance(content, dict) else None
    if isinstance(labels, dict):
        return labels.get("kind") == "label-studio" and not labels.get("url")
    return labels == "label-studio"


def folder(home: Home) -> Path:
    return home.root / "labelstudio"


def address(home: Home) -> str:
    """Where our server listens. Raises NotReady when it was never started."""
    port = port_of(home, "label_studio")
    if port is None:
        raise NotReady(
            "Label Studio was never started",
            detail=f"{home.root} has no port for it",
            remedy="Start it with `./tidemill up`.",
        )
    return f"http://127.0.0.1:{port}"


def port_of(home: Home, service: str) -> int | None:
    """The port that a service of this home has, or None when none was ever chosen for it."""
    try:
        return int(json.loads((home.run / "ports.json").read_text())[service])
    except (FileNotFoundError, ValueError, KeyError):
        return None


def secret(home: Home, name: str, length: int = 40) -> str:
    """A secret of hexadecimal digits in `secrets/label-studio.<name>`, made on first use."""
    file = home.secrets / f"label-studio.{name}"
    try:
        if known := file.read_text().strip():
            return known
    except FileNotFoundError:
        pass
    home.ensure()
    replace_bytes(file, secrets.token_hex(length // 2).encode() + b"\n", mode=0o600)
    return file.read_text().strip()


def health(home: Home, port: int) -> Check:
    """The server must know our token: any other Label Studio answers /health as well."""
    url = f"http://127.0.0.1:{port}/api/current-user/whoami"

    def check(pid: int) -> None:
        try:
            known = (home.secrets / "label-studio.token").read_text().strip()
        except FileNotFoundError:
            raise Unhealthy("it is being installed") from None
        headers = {"Authorization": f"Token {known}"}
        http_check(url, json_members={"email": OWNER}, headers=headers)(pid)

    return check


def environment(home: Home, given: Mapping[str, str]) -> dict[str, str]:
    """The server's environment: private, quiet, and with no way to call outside."""
    root = folder(home)
    kept = {
        name: value for name, value in given.items() if not name.startswith(("TIDEMILL_", "LABEL_STUDIO_"))
    }
    return {
        **kept,
        "LABEL_STUDIO_BASE_DATA_DIR": str(root / "data"),
        "XDG_CONFIG_HOME": str(root / "config"),
        "XDG_CACHE_HOME": str(root / "cache"),
        "LABEL_STUDIO_USERNAME": OWNER,
        "LABEL_STUDIO_PASSWORD": secret(home, "password"),
        "LABEL_STUDIO_USER_TOKEN": secret(home, "token"),
        "LABEL_STUDIO_SECRET_KEY": secret(home, "key", 64),
        # Counts only when the organisation is made, which is at the first start.
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
        "LABEL_STUDIO_SENTRY_DSN": "",
        "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        "LABEL_STUDIO_CORS_ALLOW_ALL_ORIGINS": "false",
        "LABEL_STUDIO_ALLOWED_HOSTS": "127.0.0.1,localhost",
        # Our webhook is on loopback, which it refuses otherwise; beyond loopback the dead proxy stands.
        "SSRF_PROTECTION_ENABLED": "false",
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
    }


def install(target: Path) -> Path:
    """Make the environment at `target` unless it is whole and of this lock; the path of its `label-studio`.

    The stamp is written last: an interrupted installation is begun anew. Its installer may outlive it, when only we
    were killed: it holds the lock as well, and is waited for. Raises NotReady when the installer fails.
    """
    target = target.resolve()
    program = target / "bin" / "label-studio"
    stamp = target / ".tidemill-stamp"
    wanted = f"{target}\n{hashlib.sha256(LOCK.read_bytes()).hexdigest()}\n"
    if program.exists() and stamp.exists() and stamp.read_text() == wanted:
        return program
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (program.exists() and stamp.exists() and stamp.read_text() == wanted):
            _install(target, lock.fileno())
            replace_bytes(stamp, wanted.encode())
            print("Label Studio is installed", flush=True)
    return program


def _install(target: Path, lock: int) -> None:
    uv = shutil.which("uv") or str(CHECKOUT / ".uv" / "bin" / "uv")
    shutil.rmtree(target, ignore_errors=True)
    print(f"installing Label Studio into {target} (800 MB, about a minute) ...", flush=True)
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "UV_PYTHON")
    }
    _run([uv, "venv", "--python", sys.executable, str(target)], inherited, lock)
    python = str(target / "bin" / "python")
    _run([uv, "pip", "sync", "--python", python, "--require-hashes", str(LOCK)], inherited, lock)


def _run(command: list[str], env: Mapping[str, str], lock: int) -> None:
    try:
        code = subprocess.run(
            command, env=dict(env), stdin=subprocess.DEVNULL, pass_fds=[lock], check=False
        ).returncode
    except OSError as error:
        code = error.errno or 1
    if code != 0:
        raise NotReady(
            "Label Studio could not be installed",
            detail=f"`{' '.join(command[:3])}` ended with {code}",
            remedy="Check the network or the package mirror and the free disk space; it is tried again. "
            "labels: built-in in project.yaml needs no Label Studio.",
        )


def main(root: str, port: str) -> int:
    """Install, then become the server."""
    home = Home.find(root).ensure()
    try:
        program = install(folder(home) / "env")
    except TidemillError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    env = environment(home, os.environ)
    for name in ("data", "config", "cache"):
        (folder(home) / name).mkdir(exist_ok=True)
    command = [str(program), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", port]
    sys.stdout.flush()
    os.execve(program, command, env)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
