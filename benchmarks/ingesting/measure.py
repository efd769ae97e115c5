"""How one side is measured: its processor time and wall time from after its imports, and its peak memory.

Runs in the peers' environments too, so it needs the standard library only.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any


def cpu() -> float:
    """Processor seconds of this process so far and of the children it has waited for, user and system."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def peak_mb() -> float:
    """The most memory that this process ever held, in MB."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            # Not ru_maxrss: that begins with what the parent held when it started this process.
            found = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
    except OSError:
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = size / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return max(found, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024 if _has_children() else 0)


def _has_children() -> bool:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime > 0


def measured(work: Callable[[], dict[str, Any]]) -> None:
    """Do the work and print, as one line of JSON, what it took beside what it says."""
    imports = cpu()
    began = time.perf_counter()
    said = work()
    wall = time.perf_counter() - began
    spent = cpu() - imports
    print(json.dumps(said | {"cpu": spent, "wall": wall, "cpu_imports": imports, "peak_mb": peak_mb()}))
