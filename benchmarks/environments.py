"""Environments of their own for the peers that benchmarks measure against, outside the repository and kept."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tidemill.home import CHECKOUT


def python_with(home: Path, packages: Sequence[str]) -> Path | None:
    """The Python of the environment `home` with `packages`, made when it is missing or others were wanted.

    None, and why on stderr, when it cannot be made.
    """
    stamp, python, wanted = home / "peers.txt", home / "bin" / "python", "\n".join(packages)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    home.parent.mkdir(parents=True, exist_ok=True)
    uv = shutil.which("uv") or str(CHECKOUT / ".uv" / "bin" / "uv")
    commands = (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)],
        [uv, "pip", "install", "--quiet", "--python", str(python), *packages],
    )
    try:
        for command in commands:
            subprocess.run(command, check=True, cwd=home.parent)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{', '.join(packages)}: cannot be installed, so left out: {error}", file=sys.stderr)
        return None
    stamp.write_text(wanted)
    return python
