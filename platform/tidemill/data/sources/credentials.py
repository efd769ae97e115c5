"""The secrets of sources: one file each in the home's `secrets/`, readable by its owner only.

A secret is never part of a message, not even of the one that says that its file is wrong.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection

import yaml

from tidemill.errors import InvalidInput
from tidemill.home import Home

MOST_BYTES = 65_536


def read_secret(home: Home, name: str, *, fields: Collection[str], needed: Collection[str]) -> dict[str, str]:
    """What `secrets/NAME.yaml` says. Raises InvalidInput when it is missing, open to others, or says too little.

    `fields` are those it may hold; one of `needed` must be among them.
    """
    file = home.secrets / f"{name}.yaml"
    form = ", ".join(f"`{field}: ...`" for field in needed)
    try:
        # Not through a link, and not waiting for a pipe: what is opened is what is checked.
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise InvalidInput(
            "The secret of a source is missing",
            detail=f"there is no {file}",
            remedy=f"Write {form} into it, one a line, then `chmod 600 {file}`.",
        ) from None
    except OSError as error:
        raise _unusable(str(file), error.strerror or "it cannot be opened", f"`ls -l {file}`") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            raise _unusable(str(file), "it is no file of the user who runs Tidemill", f"`ls -l {file}`")
        if found.st_mode & 0o077:
            mode = f"its mode is {stat.S_IMODE(found.st_mode):03o}, so others can read it"
            raise _unusable(str(file), mode, f"`chmod 600 {file}`, and think of the secret as known")
        text = os.read(descriptor, MOST_BYTES)
    finally:
        os.close(descriptor)
    return _fields(str(file), text, fields, needed, form)


def _fields(
    file: str, text: bytes, fields: Collection[str], needed: Collection[str], form: str
) -> dict[str, str]:
    try:
        said = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        said = None  # the parser's message would repeat the secret
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        way = f"write {form}, one a line, what looks like a number in quotes"
        raise _unusable(file, "it is no list of names and texts in YAML", way)
    if unknown := [str(name) for name in said if name not in fields]:
        raise _unusable(file, f"it has {len(unknown)} fields too many", f"leave only {', '.join(fields)}")
    if not any(said.get(name) for name in needed):
        raise _unusable(file, f"it says nothing of {' or '.join(needed)}", f"write {form} into it")
    return said


def _unusable(file: str, why: str, way: str) -> InvalidInput:
    return InvalidInput(
        "The secret of a source cannot be used", detail=f"{file}: {why}", remedy=f"{way[0].upper()}{way[1:]}."
    )
