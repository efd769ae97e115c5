"""Files and rows sent to the API, whole or in parts over tus 1.0, so that a broken connection costs one part.

Here belongs the sending side's conversation; what a person sees of it is `send.py`, the
server's side `api/uploads.py`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import httpx

from tidemill.client_transport import (
    RETRY_SECONDS,
    SILENT_SECONDS,
    ApiError,
    Transport,
    at,
    pieces,
    plain,
    wait_until,
)
from tidemill.client_types import FileRecord, Record, SourceInfo, UploadInfo

TUS = {"Tus-Resumable": "1.0.0"}
PART_TYPE = "application/offset+octet-stream"
PART_BYTES = 8 << 20


class Files(Transport):
    """What a client does with files."""

    def upload(
        self,
        project: str,
        source: str | Path | bytes | BinaryIO,
        name: str | None = None,
        *,
        resume: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> FileRecord:
        """Send a CSV or Excel file: a path, bytes, or an open binary file (streamed, not held in memory).

        `name` is the name to show; its suffix tells the format. The same bytes again give the stored record.

        With `resume` it goes in parts: when the connection breaks, or the same file was begun before, it goes on
        where the server is, and what is in the table already is not sent. An open file must be able to seek then.
        `on_progress` gets the bytes that are there and those of the whole. Gives up when nothing was heard for a
        minute.
        """
        if isinstance(source, (str, Path)):
            with Path(source).open("rb") as handle:
                name = name or Path(source).name
                return self.upload(project, handle, name, resume=resume, on_progress=on_progress)
        if name is None:
            name = os.path.basename(str(getattr(source, "name", ""))) or "data.csv"
        if resume:
            seekable = io.BytesIO(source) if isinstance(source, bytes) else source
            return self._upload_parts(project, seekable, name, on_progress or (lambda _there, _size: None))
        body = source if isinstance(source, bytes) else pieces(source)
        headers = {"Content-Type": "application/octet-stream"}
        answer = self._json(
            "POST", at(project, "files"), params={"name": name}, content=body, headers=headers
        )
        return cast(FileRecord, answer)

    def send_records(self, project: str, records: Iterable[Record]) -> FileRecord:
        """Send rows; they become a file, whose record is the answer. The same rows again give the stored record.

        They are sent as they come from `records`, one JSON object a line, never all in memory.
        """
        lines = (json.dumps(plain(record), allow_nan=False).encode() + b"\n" for record in records)
        headers = {"Content-Type": "application/x-ndjson"}
        return cast(
            FileRecord, self._json("POST", at(project, "records"), content=_gathered(lines), headers=headers)
        )

    def files(self, project: str) -> list[FileRecord]:
        """The files sent or dropped, newest first."""
        return cast("list[FileRecord]", self._get(at(project, "files"))["files"])

    def file(self, project: str, file_id: str) -> FileRecord:
        return cast(FileRecord, self._get(at(project, "files", file_id)))

    def sources(self, project: str) -> list[SourceInfo]:
        """Where the project's files come from, and how each source was found at the last look."""
        return cast("list[SourceInfo]", self._get(at(project, "sources"))["sources"])

    def rejects(self, project: str, file_id: str) -> str:
        """Why rows of a file were refused, as CSV: file, line, column, value, reason."""
        return self._checked("GET", at(project, "files", file_id, "rejects")).text

    def rejected_rows(self, project: str, file_id: str) -> bytes:
        """The refused rows of a file as a CSV to be mended and sent again, after `_file`, `_line` and `_reason`."""
        return self._checked("GET", at(project, "files", file_id, "rejected-rows")).content

    def wait_file(self, project: str, file_id: str, timeout: float = 120.0) -> FileRecord:
        """The file's record once it has been accepted or refused. Raises StillWorking after `timeout` seconds."""
        return wait_until(
            lambda: self.file(project, file_id),
            lambda record: record["status"] in ("accepted", "refused"),
            timeout,
            f"The file {file_id}",
        )

    def follow_file(self, project: str, file_id: str, timeout: float = 3600.0) -> Iterator[FileRecord]:
        """The file's record at each change, the last one accepted or refused.

        Goes on where it was when the connection breaks. Raises StillWorking after `timeout` seconds, Unreachable
        when the API has not answered for a minute.
        """
        path = at(project, "files", file_id, "events")
        for document in self._followed(path, _is_taken, timeout, f"The file {file_id}"):
            yield cast(FileRecord, document)

    def _upload_parts(
        self, project: str, handle: BinaryIO, name: str, on_progress: Callable[[int, int], None]
    ) -> FileRecord:
        sha256, size = _digest_of(handle)
        if (known := self._known_file(project, sha256)) is not None:
            return known
        url = self._begun(project, sha256) or self._announce(project, name, size, sha256)
        heard = time.monotonic()
        offset: int | None = None
        while True:
            try:
                answer = self._part(url, handle, offset)
            except ApiError as error:
                # 409: the server has another count than we, such as after an answer that was lost.
                is_hopeful = error.is_retryable or (error.status == 409 and "offset" in error.problem)
                if not is_hopeful or time.monotonic() - heard > SILENT_SECONDS:
                    raise
                offset = None
                time.sleep(RETRY_SECONDS)
                continue
            heard, offset = time.monotonic(), int(answer.headers["Upload-Offset"])
            on_progress(offset, size)
            if file_id := answer.headers.get("Tidemill-File"):
                return self.file(project, file_id)

    def _part(self, url: str, handle: BinaryIO, offset: int | None) -> httpx.Response:
        """Send the part that begins at `offset`, or ask for the offset when it is not known."""
        if offset is None:
            return self._checked("HEAD", url, headers=TUS)
        handle.seek(offset)
        headers = TUS | {"Upload-Offset": str(offset), "Content-Type": PART_TYPE}
        return self._checked("PATCH", url, content=handle.read(PART_BYTES), headers=headers)

    def _known_file(self, project: str, sha256: str) -> FileRecord | None:
        """The record of these bytes when the table has them; refused ones are worth another try."""
        try:
            record = self.file(project, sha256[:16])
        except ApiError as error:
            if error.status != 404:
                raise
            return None
        return record if record["sha256"] == sha256 and record["status"] == "accepted" else None

    def _begun(self, project: str, sha256: str) -> str | None:
        """Where an upload of these bytes goes on that was begun before."""
        uploads = cast("list[UploadInfo]", self._get(at(project, "uploads"))["uploads"])
        return next((one["url"] for one in uploads if one["sha256"] == sha256 and one["file"] is None), None)

    def _announce(self, project: str, name: str, size: int, sha256: str) -> str:
        given = {"filename": name, "sha256": sha256}
        pairs = [f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in given.items()]
        headers = TUS | {"Upload-Length": str(size), "Upload-Metadata": ",".join(pairs)}
        return str(self._checked("POST", at(project, "uploads"), headers=headers).headers["Location"])


def _gathered(lines: Iterable[bytes], size: int = 262_144) -> Iterator[bytes]:
    """The same bytes in larger pieces: a packet for each row would cost more than the row."""
    waiting = bytearray()
    for line in lines:
        waiting += line
        if len(waiting) >= size:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _digest_of(handle: BinaryIO) -> tuple[str, int]:
    """SHA-256 in hex and size of a whole open file."""
    digest, size = hashlib.sha256(), 0
    handle.seek(0)
    for piece in pieces(handle):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def _is_taken(record: FileRecord) -> bool:
    return record["status"] in ("accepted", "refused")
