"""SFTP, through fsspec: with the one host key that project.yaml names, and a limit on every wait.

fsspec's own connection trusts whatever key it is shown first; that is replaced here.
"""

from __future__ import annotations

import base64
import hashlib
import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem

from tidemill.data.sources.credentials import read_secret
from tidemill.data.sources.source import FilesOf, Item, Reader, printable
from tidemill.errors import InvalidInput, SourceAway
from tidemill.home import Home
from tidemill.project_sources import SftpSource

FIELDS = ("password", "private_key", "passphrase")
KINDS_OF_KEY = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


class PinnedSftp(SFTPFileSystem):  # type: ignore[misc]
    """fsspec's SFTP over a client that was connected already."""

    cachable = False  # a connection belongs to one look

    def __init__(self, host: str, client: paramiko.SSHClient, timeout: float) -> None:
        self._given = client
        self._timeout = timeout
        super().__init__(host)

    def _connect(self) -> None:
        self.client = self._given
        self.ftp = self.client.open_sftp()
        channel = self.ftp.get_channel()
        assert channel is not None
        channel.settimeout(self._timeout)


class Sftp(FilesOf):
    """The files under `source.path` of `source.host`. Links are left alone."""

    def __init__(self, home: Home, source: SftpSource, timeout: float) -> None:
        super().__init__(source.path, source.marker)
        self.source = source
        self.where = f"{source.user}@{source.host}:{source.port}"
        secret = read_secret(home, source.secret, fields=FIELDS, needed=FIELDS[:2])
        key = _private_key(secret, home.secrets / f"{source.secret}.yaml")
        self._client = paramiko.SSHClient()
        try:
            with self.reachable():
                self._connect(secret, key, timeout)
                self.fs = PinnedSftp(source.host, self._client, timeout)
        except BaseException:
            self._client.close()
            raise

    def _connect(self, secret: dict[str, str], key: paramiko.PKey | None, timeout: float) -> None:
        kind, data = self.source.host_key.split()[:2]
        named = self.source.host if self.source.port == 22 else f"[{self.source.host}]:{self.source.port}"
        try:
            trusted = paramiko.PKey.from_type_string(kind, base64.b64decode(data))
        except (paramiko.SSHException, ValueError) as error:
            raise self._wrong_key("host_key of project.yaml is no key that can be read") from error
        self._client.get_host_keys().add(named, kind, trusted)
        self._client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            self._client.connect(
                self.source.host,
                self.source.port,
                self.source.user,
                password=secret.get("password") if key is None else None,
                pkey=key,
                timeout=timeout,
                banner_timeout=timeout,
                auth_timeout=timeout,
                channel_timeout=timeout,
                allow_agent=False,
                look_for_keys=False,
            )
        except paramiko.BadHostKeyException as error:
            shown = f"it shows {error.key.get_name()} {fingerprint(error.key)}"
            raise self._wrong_key(f"{shown}, not {fingerprint(trusted)}") from error
        except paramiko.AuthenticationException as error:
            raise InvalidInput(
                "The SFTP server does not let us in",
                detail=f"{self.where} refused the user or the secret {self.source.secret}",
                remedy=f"Mend `user` in project.yaml or the file secrets/{self.source.secret}.yaml.",
            ) from error

    def _wrong_key(self, why: str) -> InvalidInput:
        return InvalidInput(
            "The SFTP server is not the one that project.yaml names",
            detail=f"{self.where}: {why}",
            remedy="Ask the server's owner whether its key was changed; only then put the new one as `host_key`. "
            f"`ssh-keyscan -p {self.source.port} {self.source.host}` shows it.",
        )

    def list_folder(self, folder: str) -> Iterator[Item]:
        with self.reachable():
            for entry in self.fs.ls(folder, detail=True):
                yield self._item(entry["name"].rpartition("/")[2], entry)

    def look_at(self, path: str) -> Item:
        with self.reachable():
            return self._item(path.rpartition("/")[2], self.fs.info(path))

    @contextmanager
    def open(self, path: str) -> Iterator[Reader]:
        with self.reachable():
            # A link put in the file's place since it was listed could name anything that the server's user reads.
            if not stat.S_ISREG(self.fs.ftp.lstat(path).st_mode or 0):
                raise PermissionError(f"{printable(path)} is no plain file")
            # Without prefetch: paramiko's holds all that arrives, and a lost connection ends its thread unheard.
            handle = self.fs.open(path, "rb")
        try:
            yield handle
        finally:
            with self.reachable():
                handle.close()

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def reachable(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, PermissionError):
            raise
        except (OSError, EOFError, paramiko.SSHException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise SourceAway(
                "The SFTP server does not answer",
                detail=f"{self.where}: {why}",
                remedy="See whether it runs and can be reached from here. It is looked at again.",
            ) from error

    def _item(self, name: str, found: dict[str, Any]) -> Item:
        if found["type"] == "directory":
            return Item(name, "folder")
        if found["type"] != "file":
            return Item(name, "other")
        return Item(name, "file", found["size"], found["mtime"].timestamp())


def fingerprint(key: paramiko.PKey) -> str:
    """A public key's fingerprint, as `ssh-keygen -l` shows it."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def _private_key(secret: dict[str, str], file: Any) -> paramiko.PKey | None:
    text = secret.get("private_key")
    if text is None:
        return None
    for kind in KINDS_OF_KEY:
        try:
            return kind.from_private_key(io.StringIO(text), password=secret.get("passphrase"))
        except (paramiko.SSHException, ValueError):
            continue  # of another kind; its message could repeat the key
    raise InvalidInput(
        "The private key of a source cannot be read",
        detail=f"`private_key` in {file} is no OpenSSH key of the kinds ed25519, ecdsa and rsa, or needs another "
        "`passphrase`",
        remedy="Put the whole key file there, as a block: `private_key: |`, each line indented.",
    ) from None
