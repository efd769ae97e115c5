"""A share: a folder of this machine, such as a mounted one. Links that leave it are not followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from tidemill.data.sources.source import FilesOf, Item, Reader, printable, split
from tidemill.errors import SourceAway
from tidemill.project_sources import ShareSource


class Leaves(PermissionError):
    """A link that leads out of the share."""


class Share(FilesOf):
    """The files under `source.path`."""

    def __init__(self, source: ShareSource) -> None:
        super().__init__(source.path, source.marker)
        # The folder itself may be a link: whoever wrote project.yaml meant it.
        self.root = os.path.realpath(split(source.path)[0])

    def list_folder(self, folder: str) -> Iterator[Item]:
        with self.reachable():
            where = self._inside(folder)
            with os.scandir(where) as entries:
                for entry in entries:
                    try:
                        yield self._item(entry.name, os.path.join(where, entry.name))
                    except FileNotFoundError:
                        continue  # gone since the folder was listed, or a link to nowhere

    def look_at(self, path: str) -> Item:
        with self.reachable():
            return self._item(os.path.basename(path), path)

    @contextmanager
    def open(self, path: str) -> Iterator[Reader]:
        with self.reachable():
            handle = self._open_below_root(self._inside(path))
        with handle:
            yield handle

    def close(self) -> None:
        """Nothing is held between two calls."""

    @contextmanager
    def reachable(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, PermissionError):
            raise
        except OSError as error:
            raise SourceAway(
                "The share does not answer",
                detail=f"{self.root}: {error.strerror or type(error).__name__}",
                remedy="See whether it is mounted and its server runs. It is looked at again.",
            ) from error

    def _inside(self, path: str) -> str:
        """`path` without links. Raises Leaves when one leads out of the share."""
        real = os.path.realpath(path)
        if real != self.root and not real.startswith(self.root.rstrip("/") + "/"):
            raise Leaves(f"{printable(path)} is a link that leaves the share")
        return real

    def _item(self, name: str, path: str) -> Item:
        try:
            found = os.stat(self._inside(path))
        except Leaves:
            return Item(name, "other")
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFDIR:
            return Item(name, "folder")
        if kind != stat.S_IFREG:
            return Item(name, "other")
        return Item(name, "file", found.st_size, found.st_mtime_ns / 1e9)

    def _open_below_root(self, real: str) -> BinaryIO:
        # Part by part and never through a link: one put in the path's place since it was looked at leads nowhere.
        parts = os.path.relpath(real, self.root).split("/")
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in parts[:-1]:
                deeper = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = deeper
            descriptor = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise PermissionError("it is no plain file")
        return os.fdopen(descriptor, "rb")
