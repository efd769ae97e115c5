"""S3-compatible stores, through s3fs: objects under a bucket, with a limit on every wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import s3fs
from botocore.exceptions import BotoCoreError, ClientError
from s3fs.utils import FileExpired

from tidemill.data.sources.credentials import read_secret
from tidemill.data.sources.source import Changed, FilesOf, Item, Reader, printable
from tidemill.errors import InvalidInput, SourceAway
from tidemill.home import Home
from tidemill.project_sources import S3Source

FIELDS = ("access_key", "secret_key", "session_token")
READ_AHEAD = 8 << 20


class S3(FilesOf):
    """The objects of `source.bucket` whose keys are like `source.path`."""

    is_atomic = True

    def __init__(self, home: Home, source: S3Source, timeout: float) -> None:
        super().__init__(source.path, source.marker)
        self.bucket = source.bucket
        self.where = f"{source.endpoint or 's3'}, bucket {source.bucket}"
        self.secret = source.secret
        secret = read_secret(home, source.secret, fields=FIELDS, needed=FIELDS[:1])
        limits: dict[str, Any] = {
            "connect_timeout": timeout,
            "read_timeout": timeout,
            "retries": {"max_attempts": 0},
        }
        if source.endpoint:
            limits["proxies"] = {}  # a store of our own is reached directly, whatever the environment says
        self.fs = s3fs.S3FileSystem(
            key=secret["access_key"],
            secret=secret.get("secret_key", ""),
            token=secret.get("session_token"),
            endpoint_url=source.endpoint,
            client_kwargs={"region_name": source.region or "us-east-1"},
            config_kwargs=limits,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self.fs.retries = 1  # the next look is the retry

    def list_folder(self, folder: str) -> Iterator[Item]:
        with self.reachable():
            try:
                entries = self.fs.ls(self._at(folder), detail=True, refresh=True)
            except FileNotFoundError:
                # A prefix without objects is no fault; a bucket that is not there is.
                self.fs.call_s3("head_bucket", Bucket=self.bucket)
                entries = []
        for entry in entries:
            if name := entry["name"].rpartition("/")[2]:  # a key that ends in / stands for a folder
                yield self._item(name, entry)

    def look_at(self, path: str) -> Item:
        with self.reachable():
            return self._item(path.rpartition("/")[2], self.fs.info(self._at(path), refresh=True))

    @contextmanager
    def open(self, path: str) -> Iterator[Reader]:
        with self.reachable():
            handle = self.fs.open(self._at(path), "rb", block_size=READ_AHEAD, cache_type="readahead")
        with handle:
            yield handle

    def close(self) -> None:
        if self.fs._s3 is not None:
            self.fs.close_session(self.fs.loop, self.fs._s3)

    @contextmanager
    def reachable(self) -> Iterator[None]:
        try:
            yield
        except FileExpired as error:
            raise Changed("The object changed while it was read", detail=self.where) from error
        except PermissionError as error:
            if _code(error) in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"):
                raise InvalidInput(
                    "The store does not let us in",
                    detail=f"{self.where}: {_code(error)}",
                    remedy=f"Mend the file secrets/{self.secret}.yaml.",
                ) from error
            raise
        except FileNotFoundError:
            raise
        except (OSError, BotoCoreError, ClientError) as error:
            raise SourceAway(
                "The store does not answer",
                detail=f"{self.where}: {printable(str(error))}",
                remedy="See whether it runs and can be reached from here. It is looked at again.",
            ) from error

    def _at(self, path: str) -> str:
        return f"{self.bucket}/{path}" if path else self.bucket

    def _item(self, name: str, entry: dict[str, Any]) -> Item:
        if entry["type"] == "directory":
            return Item(name, "folder")
        changed = entry["LastModified"]
        # A listing tells milliseconds that a look at one object does not.
        return Item(name, "file", entry["size"], float(int(changed.timestamp())), entry["ETag"].strip('"'))


def _code(error: BaseException) -> str:
    response: Any = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
