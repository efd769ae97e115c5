"""What is SFTP's own: whose key is trusted, who is let in, and links on the server."""

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from source_servers import Sshd, SshdWithPasswords

from tidemill.data.sources.fetch import connect
from tidemill.errors import InvalidInput, SourceAway
from tidemill.home import Home
from tidemill.project_sources import SftpSource


def write(home: Home, text: str) -> None:
    file = home.secrets / "lab.yaml"
    file.write_text(text)
    file.chmod(0o600)


def block(key: str) -> str:
    return "private_key: |\n" + "".join(f"  {line}\n" for line in key.splitlines())


@pytest.fixture
def asked(sshd: Sshd, home: Home, sources_folder: Path) -> Callable[..., SftpSource]:
    """An SFTP source whose folder has one file; fields can be said otherwise."""
    (sources_folder / "a.csv").write_text("a")
    write(home, block(sshd.private("user")))

    def made(**fields: Any) -> SftpSource:
        given = {"host": "127.0.0.1", "port": sshd.port, "user": sshd.user, "host_key": sshd.public("host")}
        return SftpSource.model_validate(
            {
                "kind": "sftp",
                "name": "lab",
                "path": f"{sources_folder}/*.csv",
                "secret": "lab",
                **given,
                **fields,
            }
        )

    return made


def names(home: Home, source: SftpSource, timeout: float = 3.0) -> list[str]:
    with connect(home, source, timeout, None) as opened:
        return [found.name for found in opened.find()]


@pytest.mark.parametrize("key", ["host", "host_rsa"])
def test_the_key_that_project_yaml_names_is_trusted(key: str, asked, sshd: Sshd, home: Home) -> None:
    assert names(home, asked(host_key=sshd.public(key))) == ["a.csv"]


def test_any_other_host_key_is_refused_before_a_secret_is_sent(asked, sshd: Sshd, home: Home) -> None:
    log = sshd.folder / "server.log"
    before = log.read_text().count("Accepted")
    with pytest.raises(InvalidInput, match="not the one") as refused:
        names(home, asked(host_key=sshd.public("other")))
    assert "SHA256:" in refused.value.detail
    assert f"127.0.0.1:{sshd.port}" in refused.value.detail
    assert "ssh-keyscan" in refused.value.remedy
    assert log.read_text().count("Accepted") == before


def test_a_key_of_a_kind_that_the_server_has_not_is_refused_too(asked, home: Home) -> None:
    kind = "ecdsa-sha2-nistp256"
    key = paramiko.ECDSAKey.generate()
    with pytest.raises(InvalidInput, match="not the one"):
        names(home, asked(host_key=f"{kind} {base64.b64encode(key.asbytes()).decode()}"))
    with pytest.raises(InvalidInput, match="not the one"):
        names(home, asked(host_key="ssh-ed25519 AAAA"))


def test_a_user_who_is_not_let_in_is_told_which_file_to_mend(asked, sshd: Sshd, home: Home) -> None:
    write(home, block(sshd.private("other")))
    with pytest.raises(InvalidInput, match="let us in") as refused:
        names(home, asked())
    assert "secrets/lab.yaml" in refused.value.remedy
    write(home, "password: Sesame-4711\n")
    with pytest.raises(InvalidInput, match="let us in") as refused:
        names(home, asked())
    assert "Sesame" not in str(refused.value)


def test_a_password_lets_us_in_and_another_does_not(
    asked, sshd_with_passwords: SshdWithPasswords, home: Home
) -> None:
    server = sshd_with_passwords
    source = asked(port=server.port, host_key=server.public("host"))
    # A key alone is not what this server asks for.
    with pytest.raises(InvalidInput, match="let us in"):
        names(home, source)
    write(home, "password: wrong-4711\n")
    with pytest.raises(InvalidInput, match="let us in") as refused:
        names(home, source)
    assert "wrong-4711" not in str(refused.value)
    write(home, f"password: {server.PASSWORD}\n")
    assert names(home, source) == ["a.csv"]
    log = (server.folder / "server.log").read_text()
    assert f"Accepted password for {server.user}" in log


def test_a_private_key_that_cannot_be_read_is_not_repeated(asked, home: Home) -> None:
    write(home, "private_key: Sesame-4711\n")
    with pytest.raises(InvalidInput, match="private key") as refused:
        names(home, asked())
    assert "Sesame" not in str(refused.value)


def test_links_on_the_server_are_left_alone(asked, home: Home, sources_folder: Path) -> None:
    (sources_folder / "link.csv").symlink_to("/etc/passwd")
    (sources_folder / "near.csv").symlink_to("a.csv")
    assert names(home, asked()) == ["a.csv"]


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    held.append(listening.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for each in held:
            each.close()


def test_a_server_that_says_nothing_is_away_within_the_limit(asked, silent: int, home: Home) -> None:
    began = time.monotonic()
    with pytest.raises(SourceAway):
        names(home, asked(port=silent), timeout=1.0)
    assert time.monotonic() - began < 8
