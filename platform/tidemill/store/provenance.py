"""Which code made something: the commit of the checkout that runs."""

from __future__ import annotations

import subprocess
from functools import cache

from tidemill import __version__
from tidemill.home import CHECKOUT


@cache
def code_commit() -> str:
    """The checkout's commit in hex, with `+changes` when files differ from it.

    Outside a git checkout (an installed wheel) it is `release-<version>`. Asked once per process.
    """
    try:
        commit = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return f"release-{__version__}"
    return f"{commit}+changes" if changed else commit


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(CHECKOUT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
