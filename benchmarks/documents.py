"""The JSON that every benchmark writes when it is asked to: results, rows, and the machine they are from."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil


def write_document(
    file: Path | None, results: Mapping[str, Any], rows: Sequence[Any], **of_machine: Any
) -> None:
    """Write `{"results", "rows", "machine"}` to `file`, unless it is None."""
    if file is None:
        return
    machine = {
        "cores": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "system": platform.platform(),
        **of_machine,
    }
    file.write_text(json.dumps({"results": results, "rows": rows, "machine": machine}, indent=1) + "\n")
