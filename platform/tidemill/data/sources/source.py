"""What every source is, and what all that have files have in common.

Here belong the interface and the walk along a path with wildcards. How a kind is reached is its own module's;
which of the found is taken is decided in `fetch.py`.

An implementation lets FileNotFoundError and PermissionError of one object through; when the whole source does not
answer it raises SourceAway, and InvalidInput when trying again can help nobody.
"""

from __future__ import annotations

import fnmatch
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

from tidemill.errors import InvalidInput, SourceAway, TidemillError

PIECE = 1 << 20
WILDCARDS = frozenset("*?[")


class Changed(TidemillError):
    """An object that changed while it was read: the next look sees it anew."""

    slug = "changed"
    retryable = True


class Sink(Protocol):
    """Where the bytes of an object go."""

    def write(self, data: bytes, /) -> int: ...


class Reader(Protocol):
    """Where the bytes of an object come from."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Found:
    """One object of a source. `name` is the source's name for it, for records and people; `at` is for the source.

    Equal `signature` means that it has not changed since it was seen. `is_ready` says whether it is whole, and None
    that this must be told from its standing still.
    """

    name: str
    at: Any
    size: int | None
    signature: str
    is_ready: bool | None = None


@dataclass(frozen=True)
class Poured:
    """What was read of an object: how it is shown, whether it holds anything, and how far it goes in the source."""

    shown: str
    is_empty: bool = False
    watermark: dict[str, str] | None = None


class Source(ABC):
    """One open source. Use it as a context manager."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def find(self) -> list[Found]:
        """What is there now, oldest first. Raises SourceAway or InvalidInput."""

    @abstractmethod
    def pour(self, found: Found, sink: Sink) -> Poured:
        """Read `found` into `sink` in pieces. What `sink` raises goes through.

        Raises FileNotFoundError, PermissionError, Changed, SourceAway, or InvalidInput.
        """

    @abstractmethod
    def close(self) -> None:
        """End what was opened."""

    @property
    def denied(self) -> list[str]:
        """Folders that the last `find` could not look into."""
        return []


@dataclass(frozen=True)
class Item:
    """One entry of a folder. `kind` is "other" for what must not be followed, such as links and devices."""

    name: str
    kind: Literal["file", "folder", "other"]
    size: int = 0
    mtime: float | None = None
    etag: str | None = None

    @property
    def signature(self) -> str:
        return f"{self.size}:{'' if self.mtime is None else f'{self.mtime:.6f}'}:{self.etag or ''}"


@dataclass
class Walk:
    """The files that a path with wildcards names. `list_folder` lists one folder; folders are joined with `/`."""

    path: str
    marker: str | None
    is_atomic: bool
    list_folder: Callable[[str], Iterable[Item]]
    denied: list[str] = field(default_factory=list)

    def found(self) -> Iterator[Found]:
        """The files, by their path below the first folder without wildcards."""
        root, parts = split(self.path)
        try:
            items = list(self.list_folder(root))
        except FileNotFoundError as error:
            raise SourceAway(
                "The source's folder is not there",
                detail=root or "/",
                remedy="Mount the share or make the folder, or mend `path` in project.yaml. It is looked at again.",
            ) from error
        except PermissionError as error:
            raise InvalidInput(
                "The source's folder must not be read",
                detail=root or "/",
                remedy="Let the user who runs Tidemill, or the source's user, list and read it.",
            ) from error
        yield from self._matching(root, "", items, parts)

    def _matching(self, folder: str, below: str, items: list[Item], parts: list[str]) -> Iterator[Found]:
        names = {item.name for item in items}
        for item in sorted(items, key=lambda item: item.name):
            if not fnmatch.fnmatchcase(item.name, parts[0]):
                continue
            at = f"{folder.rstrip('/')}/{item.name}" if folder else item.name
            name = f"{below}{item.name}"
            if len(parts) == 1 and item.kind == "file":
                if not (self.marker and item.name.endswith(self.marker)):
                    yield self._found(name, at, item, names)
            elif len(parts) > 1 and item.kind == "folder":
                try:
                    inside = list(self.list_folder(at))
                except PermissionError:
                    self.denied.append(printable(at))
                except FileNotFoundError:
                    continue  # gone since its folder was listed
                else:
                    yield from self._matching(at, f"{name}/", inside, parts[1:])

    def _found(self, name: str, at: str, item: Item, names: set[str]) -> Found:
        ready = item.name + self.marker in names if self.marker else (True if self.is_atomic else None)
        return Found(storable(name), (at, item), item.size, item.signature, ready)


class FilesOf(Source):
    """A source of files: what is left to say is how a folder is listed, and a file looked at and opened."""

    is_atomic = False

    def __init__(self, path: str, marker: str | None) -> None:
        self._walk = Walk(path, marker, self.is_atomic, self.list_folder)

    @abstractmethod
    def list_folder(self, folder: str) -> Iterable[Item]:
        """What is in `folder`. Raises FileNotFoundError, PermissionError or SourceAway."""

    @abstractmethod
    def look_at(self, path: str) -> Item:
        """One file as it is now. Raises the same."""

    @abstractmethod
    def open(self, path: str) -> AbstractContextManager[Reader]:
        """The bytes of one file. Raises the same, and PermissionError for what must not be followed."""

    def reachable(self) -> AbstractContextManager[None]:
        """Turns what the kind's library raises into SourceAway; entered around every read."""
        raise NotImplementedError

    def find(self) -> list[Found]:
        self._walk.denied.clear()
        return sorted(self._walk.found(), key=lambda found: (found.at[1].mtime or 0.0, found.name))

    def pour(self, found: Found, sink: Sink) -> Poured:
        path, _ = found.at
        with self.open(path) as stream:
            while True:
                with self.reachable():
                    piece = stream.read(PIECE)
                if not piece:
                    break
                sink.write(piece)
        if self.look_at(path).signature != found.signature:
            raise Changed("The file changed while it was read", detail=found.name)
        return Poured(shown=shown(found.name))

    @property
    def denied(self) -> list[str]:
        return self._walk.denied


def split(path: str) -> tuple[str, list[str]]:
    """A path with wildcards as the folder before the first of them, and the patterns below it.

    >>> split("/mnt/lab/*/*.csv")
    ('/mnt/lab', ['*', '*.csv'])
    """
    parts = path.split("/")
    first = next((at for at, part in enumerate(parts) if WILDCARDS & set(part)), len(parts) - 1)
    first = min(first, len(parts) - 1)
    root = "/".join(parts[:first])
    return root or ("/" if path.startswith("/") else ""), parts[first:]


def storable(name: str) -> str:
    """A name as it can be stored and told apart: bytes that are no UTF-8 are spelt out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def printable(name: str) -> str:
    """A name as people may be shown it."""
    return "".join(letter if letter.isprintable() else "?" for letter in storable(name))[:200]


def shown(name: str) -> str:
    """The last part of a name, as people are shown it."""
    return printable(name.rpartition("/")[2]) or "file"
