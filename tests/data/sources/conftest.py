"""Every kind of source with files as one thing to put files into, so that all are held to the same checks."""

import importlib.util
import io
import os
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tidemill.data.sources.fetch import Look, connect, look
from tidemill.data.sources.source import FilesOf, Item, Reader, Source
from tidemill.errors import SourceAway
from tidemill.home import Home
from tidemill.project import Project
from tidemill.project_sources import FilesSource, S3Source, SftpSource, ShareSource, Watched
from tidemill.settings import Settings
from tidemill.store.state import State


def _load(name: str) -> None:
    # importlib mode puts no test folder on the path; the module is shared by name.
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


_load("source_servers")
from source_servers import Postgres, S3Server, Sshd, SshdWithPasswords  # noqa: E402


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """A folder with a short name that other users may enter; pytest's own are closed to them."""
    made = Path(tempfile.mkdtemp(prefix="tm-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def sshd() -> Iterator[Sshd]:
    with folder_for_all() as folder:
        server = Sshd(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def sshd_with_passwords() -> Iterator[SshdWithPasswords]:
    with folder_for_all() as folder:
        server = SshdWithPasswords(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with folder_for_all() as folder:
        server = S3Server(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with folder_for_all() as folder:
        server = Postgres(folder)
        server.start()
        yield server
        server.stop()


def write_secret(home: Home, name: str, text: str) -> None:
    file = home.secrets / f"{name}.yaml"
    file.write_text(text)
    file.chmod(0o600)


class World(ABC):
    """One kind of source, seen from its owner: files are put there and removed, and it can go away."""

    def __init__(self, home: Home) -> None:
        self.home = home

    @abstractmethod
    def source(self, path: str = "*.csv", **fields: Any) -> FilesSource:
        """What project.yaml says of it; `path` lies below the place that `put` puts files into."""

    @abstractmethod
    def put(self, name: str, data: bytes) -> None: ...

    @abstractmethod
    def remove(self, name: str) -> None: ...

    @abstractmethod
    def deny(self, name: str) -> None:
        """Take from the source's user the right to read one file."""

    @abstractmethod
    def go(self) -> None:
        """From here the source does not answer."""

    @abstractmethod
    def come_back(self) -> None: ...

    def connect(self, source: Watched, timeout: float = 5.0) -> Source:
        return connect(self.home, source, timeout, None)


class FakeFiles(FilesOf):
    """Files in memory, for units: the same abstract class as the real ones."""

    def __init__(self, world: "FakeWorld", source: ShareSource) -> None:
        super().__init__(source.path, source.marker)
        self.world = world

    def list_folder(self, folder: str) -> Iterable[Item]:
        self.world.answer()
        below = folder.rstrip("/") + "/"
        items: dict[str, Item] = {}
        for path, (data, stamp) in self.world.files.items():
            if path.startswith(below):
                name, _, rest = path.removeprefix(below).partition("/")
                items[name] = Item(name, "folder") if rest else Item(name, "file", len(data), stamp)
        return items.values()

    def look_at(self, path: str) -> Item:
        self.world.answer()
        if path not in self.world.files:
            raise FileNotFoundError(path)
        data, stamp = self.world.files[path]
        return Item(path.rpartition("/")[2], "file", len(data), stamp)

    @contextmanager
    def open(self, path: str) -> Iterator[Reader]:
        self.world.answer()
        if path in self.world.denied:
            raise PermissionError(path)
        if path not in self.world.files:
            raise FileNotFoundError(path)
        yield io.BytesIO(self.world.files[path][0])

    @contextmanager
    def reachable(self) -> Iterator[None]:
        self.world.answer()
        yield

    def close(self) -> None:
        self.world.closed += 1


class FakeWorld(World):
    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.files: dict[str, tuple[bytes, float]] = {}
        self.denied: set[str] = set()
        self.is_gone = False
        self.closed = 0
        self.stamp = 1_000.0

    def source(self, path: str = "*.csv", **fields: Any) -> ShareSource:
        return ShareSource(kind="share", name="lab", path=f"/fake/{path}", **fields)

    def put(self, name: str, data: bytes) -> None:
        self.stamp += 1.0
        self.files[f"/fake/{name}"] = (data, self.stamp)

    def remove(self, name: str) -> None:
        del self.files[f"/fake/{name}"]

    def deny(self, name: str) -> None:
        self.denied.add(f"/fake/{name}")

    def go(self) -> None:
        self.is_gone = True

    def come_back(self) -> None:
        self.is_gone = False

    def answer(self) -> None:
        if self.is_gone:
            raise SourceAway("The fake is away", detail="fake", remedy="Bring it back.")

    def connect(self, source: Watched, timeout: float = 5.0) -> Source:  # noqa: ARG002
        assert isinstance(source, ShareSource)
        self.answer()
        return FakeFiles(self, source)


class FolderWorld(World):
    """Files in a folder of this machine: what a share and an SFTP server show."""

    def __init__(self, home: Home, folder: Path) -> None:
        super().__init__(home)
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)

    def put(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o644)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()

    def deny(self, name: str) -> None:
        (self.folder / name).chmod(0)


class ShareWorld(FolderWorld):
    def source(self, path: str = "*.csv", **fields: Any) -> ShareSource:
        return ShareSource(kind="share", name="lab", path=f"{self.folder}/{path}", **fields)

    def go(self) -> None:
        self.folder.rename(self.folder.with_name("away"))

    def come_back(self) -> None:
        self.folder.with_name("away").rename(self.folder)


class SftpWorld(FolderWorld):
    def __init__(self, home: Home, folder: Path, server: Sshd) -> None:
        super().__init__(home, folder)
        self.server = server
        lines = "".join(f"  {line}\n" for line in server.private("user").splitlines())
        write_secret(home, "lab_sftp", f"private_key: |\n{lines}")

    def source(self, path: str = "*.csv", **fields: Any) -> SftpSource:
        given: dict[str, Any] = {"host_key": self.server.public("host"), "secret": "lab_sftp", **fields}
        return SftpSource(
            kind="sftp",
            name="lab",
            host="127.0.0.1",
            port=self.server.port,
            user=self.server.user,
            path=f"{self.folder}/{path}",
            **given,
        )

    def go(self) -> None:
        self.server.stop()

    def come_back(self) -> None:
        self.server.start()


class S3World(World):
    def __init__(self, home: Home, server: S3Server, bucket: str) -> None:
        super().__init__(home)
        import boto3

        self.server = server
        self.bucket = bucket
        self.client = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            region_name="us-east-1",
            aws_access_key_id="reader",
            aws_secret_access_key="s3cret",
        )
        self.client.create_bucket(Bucket=bucket)
        write_secret(home, "lab_s3", "access_key: reader\nsecret_key: s3cret\n")

    def source(self, path: str = "*.csv", **fields: Any) -> S3Source:
        given: dict[str, Any] = {"bucket": self.bucket, "secret": "lab_s3", **fields}
        return S3Source(kind="s3", name="lab", path=f"export/{path}", endpoint=self.server.endpoint, **given)

    def put(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=f"export/{name}", Body=data)

    def remove(self, name: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=f"export/{name}")

    def deny(self, name: str) -> None:
        pytest.skip(f"moto keeps no rights, so {name} cannot be denied")

    def go(self) -> None:
        self.server.stop()

    def come_back(self) -> None:
        self.server.start()  # moto keeps objects in memory: they are gone with it
        self.client.create_bucket(Bucket=self.bucket)

    def close(self) -> None:
        self.client.close()


@pytest.fixture
def sources_folder() -> Iterator[Path]:
    """A folder that the SFTP server's user may enter."""
    with folder_for_all() as folder:
        yield folder


@pytest.fixture
def s3_world(home: Home, s3_server: S3Server) -> Iterator[S3World]:
    made = S3World(home, s3_server, f"b{os.urandom(8).hex()}")
    yield made
    made.close()


@pytest.fixture
def strict_s3_world(home: Home) -> Iterator[S3World]:
    """A store of its own, which can be told to ask what a key may do."""
    with folder_for_all() as folder:
        server = S3Server(folder)
        server.start()
        made = S3World(home, server, "strict")
        yield made
        made.close()
        server.stop()


@pytest.fixture(params=["fake", "share", "sftp", "s3"])
def world(request: pytest.FixtureRequest, home: Home) -> Iterator[World]:
    """Each kind of source with files, one after the other."""
    match request.param:
        case "fake":
            yield FakeWorld(home)
        case "share":
            with folder_for_all() as folder:
                yield ShareWorld(home, folder / "share")
        case "sftp":
            with folder_for_all() as folder:
                yield SftpWorld(home, folder / "share", request.getfixturevalue("sshd"))
        case "s3":
            yield request.getfixturevalue("s3_world")


@pytest.fixture
def fake(home: Home) -> FakeWorld:
    return FakeWorld(home)


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def look_at(home: Home, state: State, shop: Project, clock: Clock) -> Callable[..., Look]:
    """Look once at a source of a world, ten seconds after the last look."""

    def once(
        world: World,
        source: Watched | None = None,
        project: Project = shop,
        seconds: float = 10.0,
        **limits: int,
    ) -> Look:
        clock.now += seconds

        def connected(_: Home, given: Watched, timeout: float, __: dict[str, str] | None) -> Source:
            return world.connect(given, timeout)

        settings = Settings(source_timeout=5, **limits)
        return look(home, state, project, source or world.source(), settings, clock=clock, connect=connected)

    return once
