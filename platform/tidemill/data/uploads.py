"""Uploads in parts: bytes that arrive over several connections, kept on disk until the file is whole.

Here belong the state of an upload that is under way, its limits and its end by age. The protocol around it (tus)
is `api/uploads.py`; what becomes of a whole file is the API's landing, as of any other file.

The state is two files in the folder `.uploads` of the project's inbox, so on the inbox's disk: `<id>.bytes` holds
what has arrived and `<id>.json` what was announced. The offset is the size of the first, nothing remembered, so it
is right after any crash. An upload whose file has landed keeps its note: a client that missed the answer finds it.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tidemill.errors import Conflict, InvalidInput, NotFound, StorageFull, TidemillError, TooLarge
from tidemill.store.durable import disk_full_is_an_error, locked, replace_json

UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
CHECKSUMS = ("sha1", "sha256", "md5")
DIGITS = 15  # of an offset or a length: a thousand terabytes


class TooManyUploads(TidemillError):
    status = 429
    slug = "too-many-uploads"
    retryable = True


class UploadBusy(TidemillError):
    status = 423
    slug = "upload-busy"
    retryable = True


class ChecksumMismatch(TidemillError):
    status = 460  # tus' own
    slug = "checksum-mismatch"
    retryable = True


@dataclass(frozen=True)
class Upload:
    """What is known of one upload. `file` is the id of the file it became, None before its end.

    `name` is the client's name for the file, for people to see; no path is ever made from it here.
    """

    id: str
    name: str
    length: int
    metadata: str
    created: float
    file: str | None = None


@dataclass(frozen=True)
class UploadLimits:
    """Per project: open uploads, the bytes they announce together, and how long one may lie untouched (seconds)."""

    uploads: int
    bytes: int
    file_bytes: int
    idle_seconds: float


class Uploads:
    """The uploads of one project, whose inbox is `inbox`."""

    def __init__(self, inbox: Path, limits: UploadLimits) -> None:
        self.inbox = inbox
        self.folder = inbox / ".uploads"
        self.limits = limits

    def create(self, name: str, length: int, metadata: str = "") -> Upload:
        """Announce a file of `length` bytes.

        Raises InvalidInput for an empty one, TooLarge, TooManyUploads, or StorageFull when the open uploads or
        the disk have no room for it.
        """
        if length == 0:
            raise InvalidInput(
                "The file is empty", detail="Upload-Length is 0", remedy="Send a file with a header and rows."
            )
        if length > self.limits.file_bytes:
            raise TooLarge(
                "The file is too large",
                detail=f"{length} bytes were announced; the limit is {self.limits.file_bytes} bytes",
                remedy="Send less at once, or raise TIDEMILL_MAX_UPLOAD_BYTES.",
                limit=self.limits.file_bytes,
            )
        with locked(self.folder / ".lock", wait=10.0, what="the list of uploads"):
            self.sweep()
            self._require_room(length)
            upload = Upload(uuid.uuid4().hex, name, length, metadata, time.time())
            with disk_full_is_an_error(self.folder):
                self.data(upload).open("xb").close()
            self._note(upload)
        return upload

    def find(self, upload_id: str) -> Upload:
        """Raises NotFound for an id that is not among the uploads: never announced, ended, or too old."""
        if UPLOAD_ID.fullmatch(upload_id):
            with contextlib.suppress(FileNotFoundError):
                upload = Upload(**json.loads(self._note_file(upload_id).read_text("utf-8")))
                if self.expires(upload) > time.time():
                    return upload
        raise NotFound(
            "There is no such upload",
            detail=f"{upload_id[:40]!r} was never announced here, was ended, or lay untouched for "
            f"{self.limits.idle_seconds / 3600:.3g} h",
            remedy="Announce the file again with POST, and send it from its first byte.",
        )

    def offset(self, upload: Upload) -> int:
        """How many bytes of it are on disk. Raises NotFound when it was ended meanwhile."""
        if upload.file is not None:
            return upload.length
        with contextlib.suppress(FileNotFoundError):
            return self.data(upload).stat().st_size
        return self.find(upload.id).length  # it has landed since it was looked at

    def expires(self, upload: Upload) -> float:
        """When it will be forgotten unless more bytes come (seconds since 1970)."""
        touched = upload.created
        for file in (self.data(upload), self._note_file(upload.id)):
            with contextlib.suppress(FileNotFoundError):
                touched = max(touched, file.stat().st_mtime)
        return touched + self.limits.idle_seconds

    def end(self, upload: Upload) -> None:
        """Forget it and its bytes. Raises UploadBusy while a part arrives."""
        with self._held(upload):
            self.data(upload).unlink(missing_ok=True)
        self._note_file(upload.id).unlink(missing_ok=True)

    def data(self, upload: Upload) -> Path:
        """Where its bytes lie."""
        return self.folder / f"{upload.id}.bytes"

    def list(self) -> list[Upload]:
        """All that are known, landed ones too, oldest first."""
        found = [
            Upload(**json.loads(file.read_text("utf-8")))
            for file in (self.folder.glob("*.json") if self.folder.is_dir() else ())
            if UPLOAD_ID.fullmatch(file.stem)
        ]
        return sorted(found, key=lambda upload: (upload.created, upload.id))

    def sweep(self) -> None:
        """Forget what lay untouched for too long, and bytes that a crash left without a note."""
        for upload in self.list():
            if self.expires(upload) <= time.time():
                with contextlib.suppress(UploadBusy):
                    self.end(upload)
        for file in self.folder.glob("*.bytes"):
            with contextlib.suppress(FileNotFoundError):
                if not self._note_file(file.stem).exists() and self._is_old(file):
                    file.unlink()

    @contextmanager
    def part(self, upload: Upload, offset: int, checksum: str | None = None) -> Iterator[Part]:
        """Hold the upload while a part arrives that begins at `offset`.

        What was written stays, however the part ends, unless `checksum` ("sha256 <base64>") does not fit it or
        could not be compared: then the offset is again what it was. Raises UploadBusy while another part arrives,
        Conflict when `offset` is not the upload's, ChecksumMismatch.
        """
        digest, wanted = _digest(checksum)
        with self._held(upload) as descriptor:
            size = upload.length if descriptor is None else os.fstat(descriptor).st_size
            if descriptor is None or size != offset:
                raise _wrong_offset(offset, size)
            part = Part(self.folder, descriptor, offset, upload.length, digest)
            verified = digest is None
            try:
                yield part
                if digest is not None and digest.digest() != wanted:
                    raise ChecksumMismatch(
                        "The part is not what was sent",
                        detail=f"its {digest.name} differs from Upload-Checksum; offset {offset} stays",
                        remedy="Send the part again.",
                    )
                verified = True
            finally:
                if not verified:
                    os.ftruncate(descriptor, offset)
                os.fsync(descriptor)

    def land(self, upload: Upload, place: Callable[[Path], str]) -> Upload:
        """Hand the whole file to `place`, which answers with the file's id, and note that.

        Nothing happens to a file that has landed already. When `place` raises, the bytes stay, so that it can be
        tried again. Raises UploadBusy while somebody else is at it.
        """
        with self._held(upload) as descriptor:
            if descriptor is None:
                return self.find(upload.id)
            if os.fstat(descriptor).st_size != upload.length:
                raise ValueError(f"upload {upload.id} is not whole")
            done = replace(upload, file=place(self.data(upload)))
            self._note(done)
            self.data(upload).unlink(missing_ok=True)
            return done

    @contextmanager
    def _held(self, upload: Upload) -> Iterator[int | None]:
        """Its bytes, open for one writer of all processes, or None when they are no longer here.

        The lock ends with the process that holds it, however it ends.
        """
        try:
            descriptor = os.open(self.data(upload), os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UploadBusy(
                    "Another part of this upload arrives",
                    detail=f"upload {upload.id} takes one part at a time",
                    remedy="Ask for the offset with HEAD in a moment, and go on from there.",
                ) from None
            # It may have landed, or been ended, between the two calls.
            yield descriptor if self.data(upload).exists() else None
        finally:
            os.close(descriptor)

    def _require_room(self, length: int) -> None:
        open_ones = [upload for upload in self.list() if upload.file is None]
        if len(open_ones) >= self.limits.uploads:
            raise TooManyUploads(
                "Too many uploads are open",
                detail=f"{len(open_ones)} files are on their way; a project may have {self.limits.uploads}",
                remedy="Finish one or end it with DELETE, or raise TIDEMILL_MAX_OPEN_UPLOADS.",
            )
        announced = sum(upload.length for upload in open_ones)
        if announced + length > self.limits.bytes:
            raise StorageFull(
                "The open uploads leave no room for this file",
                detail=f"{announced} bytes are announced, {length} more would pass {self.limits.bytes}",
                remedy="Finish an upload or end it with DELETE, or raise TIDEMILL_MAX_OPEN_UPLOAD_BYTES.",
            )
        missing = sum(upload.length - self.offset(upload) for upload in open_ones)
        free = shutil.disk_usage(self.folder).free
        if missing + length > free:
            raise StorageFull(
                "The disk has no room for this file",
                detail=f"{length} bytes were announced, {missing} are still to come for others, {free} are free",
                remedy="Free some space on that disk, then try again.",
            )

    def _note(self, upload: Upload) -> None:
        replace_json(self._note_file(upload.id), asdict(upload))

    def _note_file(self, upload_id: str) -> Path:
        return self.folder / f"{upload_id}.json"

    def _is_old(self, file: Path) -> bool:
        return time.time() - file.stat().st_mtime > self.limits.idle_seconds


class Part:
    """One part on its way to the end of an upload."""

    def __init__(
        self, folder: Path, descriptor: int, offset: int, length: int, digest: hashlib._Hash | None
    ) -> None:
        self.folder = folder
        self.offset = offset
        self.length = length
        self._descriptor = descriptor
        self._digest = digest

    @property
    def is_last(self) -> bool:
        """Whether the file is whole now."""
        return self.offset == self.length

    def write(self, data: bytes) -> None:
        """Add bytes. Raises TooLarge beyond the announced length, StorageFull with what found room kept."""
        if self.offset + len(data) > self.length:
            raise TooLarge(
                "The part goes beyond the end of the file",
                detail=f"the file was announced with {self.length} bytes; {self.offset} are here",
                remedy="Send no more than Upload-Length, or announce the file again.",
                limit=self.length,
            )
        view = memoryview(data)
        with disk_full_is_an_error(self.folder):
            while view:
                count = os.write(self._descriptor, view)
                if self._digest is not None:
                    self._digest.update(view[:count])
                self.offset += count
                view = view[count:]


def _digest(checksum: str | None) -> tuple[hashlib._Hash | None, bytes]:
    if checksum is None:
        return None, b""
    kind, _, text = checksum.strip().partition(" ")
    with contextlib.suppress(ValueError):
        wanted = base64.b64decode(text.strip(), validate=True)
        if kind in CHECKSUMS:
            return hashlib.new(kind, usedforsecurity=False), wanted
    raise InvalidInput(
        "The header Upload-Checksum cannot be read",
        detail=ascii(checksum)[:100],
        remedy=f"Send the name of one of {', '.join(CHECKSUMS)}, a space and the digest in Base64.",
    )


def _wrong_offset(given: int, actual: int) -> Conflict:
    return Conflict(
        "The part does not begin where the upload ends",
        detail=f"Upload-Offset is {given}, but {actual} bytes are here",
        remedy="Ask for the offset with HEAD and go on from there.",
        offset=actual,
    )
