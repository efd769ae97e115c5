"""`sources` of project.yaml: where the files of a project come from.

What belongs here: what can be said of a source, and the faults between sources. What does not: connecting to one
and taking its files (`data/sources/`). No secret belongs into project.yaml: a source names a file of the home's
`secrets/` folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import BeforeValidator, Field

from tidemill.project_file import Fault
from tidemill.project_part import Part

# Between a source's name and the rest in the name of a file that it landed: no safe name has more of a meaning.
LANDED = "__"
SECRET_WORDS = ("pass", "pwd", "secret", "token")
_SOURCE_NAME = r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$"
_SECRET_NAME = r"^[a-z][a-z0-9_]{0,47}$"
_SECRET = "Name of the file `secrets/NAME.yaml` of the home, mode 600, that holds "


class InboxSource(Part):
    """Files dropped into `inbox/<project>/` of the home, or sent to the API."""

    kind: Literal["inbox"] = "inbox"
    pattern: str = Field("*", description="Shell pattern of the file names that are taken.")


class WatchedSource(Part):
    """What is looked at in turns: each look takes what is new into the inbox."""

    name: str = Field(
        pattern=_SOURCE_NAME,
        max_length=40,
        description="What the source is called, in states, messages and names of landed files.",
    )
    every: int = Field(60, ge=15, le=86_400, description="Seconds between two looks.")


class FilesSource(WatchedSource):
    """A source that has files under a path with wildcards. Each is taken once, by its content."""

    marker: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,20}$",
        description='A file is taken once one of its name and this ending lies beside it, such as ".done". Unset: '
        "once its size and time have stood still.",
    )
    settle: int = Field(
        5, ge=1, le=3_600, description="Seconds that size and time must have stood still between two looks."
    )


class ShareSource(FilesSource):
    """A folder of this machine, such as a mounted share. Links that leave it are not followed."""

    kind: Literal["share"]
    path: str = Field(
        pattern=r"^/.*[^/]$", description="Files, with wildcards in any part, such as /mnt/lab/*/*.csv."
    )


class SftpSource(FilesSource):
    """Files of another machine, over SSH."""

    kind: Literal["sftp"]
    host: str = Field(pattern=r"^[A-Za-z0-9.:_-]+$")
    port: int = Field(22, ge=1, le=65_535)
    user: str = Field(min_length=1)
    path: str = Field(pattern=r"^/.*[^/]$", description="Files, with wildcards, such as /export/*.csv.")
    host_key: str = Field(
        pattern=r"^(ssh|ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*( .*)?$",
        description='The server\'s public key, such as "ssh-ed25519 AAAA..."; no other is trusted. '
        "`ssh-keyscan HOST` shows it; compare it with what the server's owner says.",
    )
    secret: str = Field(
        pattern=_SECRET_NAME,
        description=f"{_SECRET}`password`, or `private_key` and perhaps its `passphrase`.",
    )


class S3Source(FilesSource):
    """Objects of an S3-compatible store. An object is there whole or not at all, so it is taken at once."""

    kind: Literal["s3"]
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    path: str = Field(
        "*", pattern=r"^[^/].*[^/]$|^[^/]$", description="Keys, with wildcards, such as export/*.csv."
    )
    endpoint: str | None = Field(
        None, pattern="^https?://[^@?]+$", description="The store's address; Amazon's when unset."
    )
    region: str | None = None
    secret: str = Field(pattern=_SECRET_NAME, description=f"{_SECRET}`access_key` and `secret_key`.")


class SqlSource(WatchedSource):
    """The result of a query, as one Parquet file a look. The same result again is not taken twice."""

    kind: Literal["sql"]
    url: str = Field(
        description="SQLAlchemy URL without a password, such as postgresql://reader@db.lab/orders."
    )
    query: str = Field(min_length=1, max_length=50_000, description="One SELECT; nothing can be changed.")
    watermark: str | None = Field(
        None,
        min_length=1,
        description="A column of the result that only grows: a look takes the rows beyond the highest value taken. "
        "Unset: every look takes the whole result, if it has changed; let the query order it.",
    )
    every: int = Field(3_600, ge=15, le=86_400, description="Seconds between two looks.")
    timeout: int = Field(600, ge=1, le=86_400, description="Most seconds that the query may take.")
    secret: str | None = Field(None, pattern=_SECRET_NAME, description=f"{_SECRET}`password`.")


def _with_kind(value: Any) -> Any:
    # `- pattern: "*.csv"` was all there was before there were kinds.
    return {"kind": "inbox", **value} if isinstance(value, dict) else value


AnySource = InboxSource | ShareSource | SftpSource | S3Source | SqlSource
Watched = ShareSource | SftpSource | S3Source | SqlSource
Source = Annotated[
    Annotated[AnySource, Field(discriminator="kind")],
    BeforeValidator(_with_kind),
]


def inbox_patterns(sources: Sequence[AnySource]) -> list[str]:
    """Shell patterns of what people and programs may put into the inbox: all, unless an inbox source says less."""
    return [source.pattern for source in sources if isinstance(source, InboxSource)] or ["*"]


def landed_patterns(sources: Sequence[AnySource]) -> list[str]:
    """Shell patterns of every name that the inbox takes: those, and what the watched sources landed."""
    watched = [source.name for source in sources if not isinstance(source, InboxSource)]
    return [*inbox_patterns(sources), *(f"{name}{LANDED}*" for name in watched)]


def source_faults(sources: Sequence[AnySource]) -> list[Fault]:
    """Faults between sources, and secrets where none may stand. No secret is repeated in them."""
    faults: list[Fault] = []
    names: set[str] = set()
    for index, source in enumerate(sources):
        if isinstance(source, InboxSource):
            continue
        if source.name in names:
            faults.append((("sources", index, "name"), source.name, "each source has a name of its own"))
        names.add(source.name)
        if isinstance(source, SqlSource):
            faults += [(("sources", index, *at), found, wrong) for at, found, wrong in _sql_faults(source)]
        elif "**" in source.path:
            wrong = "** is not understood: say each folder with a *, such as */*.csv"
            faults.append((("sources", index, "path"), source.path, wrong))
    return faults


def _sql_faults(source: SqlSource) -> list[Fault]:
    from tidemill.data.sources.statement import fault_of

    faults: list[Fault] = []
    try:
        parts = urlsplit(source.url)
        has_password = parts.password is not None
    except ValueError:
        return [(("url",), "(not shown)", "this is no URL")]
    asked = [name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if has_password or any(word in name for name in asked for word in SECRET_WORDS):
        wrong = "a password does not belong here: write it into a file of secrets/ and name that as `secret`"
        faults.append((("url",), "(not shown)", wrong))
    elif not re.match(r"^[a-z0-9+_]+://", source.url):
        faults.append((("url",), "(not shown)", "it begins with a dialect, such as postgresql://"))
    if (fault := fault_of(source.query)) is not None:
        faults.append((("query",), source.query[:60], fault))
    return faults
