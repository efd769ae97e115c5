"""Real servers on loopback for the tests of sources: OpenSSH's sshd, moto's S3 and PostgreSQL.

Each is started by `start` and ended by `stop`; a port is chosen free. What is not installed skips the test, except
where continuous integration could install it.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

IS_ROOT = os.getuid() == 0


def absent(what: str, package: str) -> Any:
    """End the test for want of a server."""
    message = f"{what} is not installed (Debian: apt install {package})"
    if os.environ.get("CI") and IS_ROOT:  # `.ci/run` installs it as root
        pytest.fail(message)
    pytest.skip(message)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        log = (self.folder / "server.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, start_new_session=True, **self.options()
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        pytest.fail(f"{self.command()[0]} did not start:\n{(self.folder / 'server.log').read_text()[-2000:]}")

    def options(self) -> dict[str, Any]:
        return {}

    def stop(self) -> None:
        if self.process is None:
            return
        # A connection's process of sshd is in a group of its own.
        family = psutil.Process(self.process.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        self.process = None


class Sshd(Server):
    """OpenSSH with keys of its own. As root it lets `nobody` in, who may not read everything."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.binary = shutil.which("sshd") or "/usr/sbin/sshd"
        if not Path(self.binary).exists():
            absent("sshd", "openssh-server")
        self.user = "nobody" if IS_ROOT else pwd.getpwuid(os.getuid()).pw_name
        for name, kind in (
            ("host", "ed25519"),
            ("user", "ed25519"),
            ("other", "ed25519"),
            ("host_rsa", "rsa"),
        ):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", str(folder / name)], check=True
            )
        (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
        (folder / "authorized").chmod(0o644)
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\n"
            f"HostKey {folder / 'host'}\nHostKey {folder / 'host_rsa'}\n"
            f"AuthorizedKeysFile {folder / 'authorized'}\nPidFile none\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "Subsystem sftp internal-sftp\nForceCommand internal-sftp\n"
        )
        if IS_ROOT:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    def command(self) -> list[str]:
        return [self.binary, "-D", "-e", "-f", str(self.folder / "sshd_config")]

    def public(self, name: str) -> str:
        return " ".join((self.folder / f"{name}.pub").read_text().split()[:2])

    def private(self, name: str) -> str:
        return (self.folder / name).read_text()


class SshdWithPasswords(Sshd):
    """The same, asking for a password alone. Its user's password stands in a copy of /etc/shadow that this process
    sees in the place of the machine's, which is not touched."""

    PASSWORD = "Sesame-4711"

    def __init__(self, folder: Path) -> None:
        if (
            not IS_ROOT
            or subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode
        ):
            pytest.skip("only root may show a process another /etc/shadow")
        super().__init__(folder)
        config = folder / "sshd_config"
        text = config.read_text().replace("PasswordAuthentication no", "PasswordAuthentication yes", 1)
        config.write_text(f"{text}PubkeyAuthentication no\n")
        made = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"],
            input=self.PASSWORD,
            capture_output=True,
            text=True,
            check=True,
        )
        shadow = folder / "shadow"
        shadow.touch(mode=0o600)
        shadow.write_text(
            f"root:*:20000:0:99999:7:::\n{self.user}:{made.stdout.strip()}:20000:0:99999:7:::\n"
        )

    def command(self) -> list[str]:
        script = 'mount --bind "$0" /etc/shadow && exec "$@"'
        return ["unshare", "-m", "sh", "-c", script, str(self.folder / "shadow"), *super().command()]


class S3Server(Server):
    """moto's S3."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Postgres(Server):
    """A PostgreSQL cluster of its own. It refuses to run as root, so root runs it as `nobody`."""

    password = "h@rd:to/guess"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
        if not found:
            absent("PostgreSQL", "postgresql")
        self.bin = found[-1].parent
        self.data = folder / "data"
        if IS_ROOT:
            shutil.chown(folder, "nobody")
        secret = folder / "password"
        secret.write_text(self.password)
        if IS_ROOT:
            shutil.chown(secret, "nobody")
        subprocess.run(
            [
                *(str(self.bin / "initdb"), "-D", str(self.data), "-U", "owner", "-A", "scram-sha-256"),
                *("-E", "UTF8", "--locale=C.UTF-8", "--no-sync", f"--pwfile={secret}"),
            ],
            check=True,
            capture_output=True,
            **self.options(),
        )

    def options(self) -> dict[str, Any]:
        return (
            {"user": "nobody", "group": "nogroup", "extra_groups": [], "cwd": self.folder} if IS_ROOT else {}
        )

    def command(self) -> list[str]:
        settings = ["fsync=off", "listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}"]
        return [
            str(self.bin / "postgres"),
            *("-D", str(self.data), "-p", str(self.port)),
            *(part for setting in settings for part in ("-c", setting)),
        ]

    def start(self) -> None:
        super().start()
        deadline = time.monotonic() + 30
        while True:  # it listens before it answers
            try:
                return self.run("SELECT 1")
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    @property
    def url(self) -> str:
        return f"postgresql://owner@127.0.0.1:{self.port}/postgres"

    def run(self, statement: str) -> None:
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="owner", password=self.password, dbname="postgres"
        ) as connection:
            connection.execute(statement.encode())
