"""The child process that looks at other people's files: no network, no programs, bounded memory and time.

Here belongs fencing it in (in the child, before it reads anything) and running it (in the parent). What it does is
in `child.py`. Which fences hold differs by system; the child says which it has, and that is kept with the model.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.learn.imports.refusal import refused

MOST_ANSWER_BYTES = 512 * 1024 * 1024

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_ALLOW, _DENY, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # EPERM
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
# Audit architecture and the numbers of: socket, socketpair, connect, execve, execveat, ptrace, process_vm_readv,
# process_vm_writev, kill, tkill, tgkill, io_uring_setup, bpf, mount.
_SYSCALLS = {
    "x86_64": (0xC000003E, (41, 53, 42, 59, 322, 101, 310, 311, 62, 200, 234, 425, 321, 165)),
    "aarch64": (0xC00000B7, (198, 199, 203, 221, 281, 117, 270, 271, 129, 130, 131, 425, 280, 40)),
}
# Landlock: rights over files that are taken away (kernel documentation, userspace-api/landlock): execute, write,
# remove, make of any kind; from the third version on also truncate. The numbers are the same on all machines.
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT, _LANDLOCK_VERSION = 444, 446, 1
_CHANGES, _TRUNCATE = 0x1FF3, 1 << 14
_REFUSED_EVENTS = (
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "os.system",
    "pickle.find_class",
    "socket.__new__",
    "socket.connect",
    "subprocess.Popen",
)


@dataclass(frozen=True)
class Limits:
    """`memory` is of the address space, in bytes; `cpu` and `wall` are seconds."""

    memory: int = 6 * 1024**3
    cpu: int = 120
    wall: float = 240.0


class Denied(PermissionError):
    """What the audit hook says to code that wants out."""


def fence(limits: Limits) -> list[str]:
    """Fence this process in, for good. Gives a line for each fence that holds; those a system lacks are absent."""
    held = []
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu, limits.cpu + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    held.append(f"at most {limits.cpu} s of CPU, and no file can be written")
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
        held.append(f"at most {limits.memory // 1024**2} MB of memory")
        if _without_network():
            held.append("a network namespace of its own, with nothing in it")
        if _without_writing():
            held.append("Landlock: no file can be made, changed, removed or run")
        if _filter_calls():
            held.append("a seccomp filter: no sockets, no programs, no signals to others")
    sys.addaudithook(_audit)
    held.append("an audit hook: no sockets, no programs, no unpickling in Python")
    return held


def _without_network() -> bool:
    library = ctypes.CDLL(None, use_errno=True)
    unprivileged = library.unshare(_CLONE_NEWNET) != 0
    return not unprivileged or library.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0


def _without_writing() -> bool:
    library = ctypes.CDLL(None, use_errno=True)
    version = library.syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION)
    if version < 1 or library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    rights = ctypes.c_uint64(_CHANGES | (_TRUNCATE if version >= 3 else 0))
    rules = library.syscall(_LANDLOCK_CREATE, ctypes.byref(rights), 8, 0)
    if rules < 0:
        return False
    held = library.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0
    os.close(rules)
    return bool(held)


def _filter_calls() -> bool:
    """Install the seccomp filter (kernel documentation, userspace-api/seccomp_filter)."""
    known = _SYSCALLS.get(platform.machine())
    if known is None:
        return False
    architecture, numbers = known
    # struct sock_filter: code, jump if true, jump if false, value. Loads are of struct seccomp_data: 4 the
    # architecture, 0 the number.
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    if platform.machine() == "x86_64":
        program += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _KILL)]  # x32 has numbers of its own
    for number in numbers:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _DENY)]
    program.append((_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    described = ctypes.create_string_buffer(
        struct.pack("HxxxxxxP" if struct.calcsize("P") == 8 else "HxxP", len(program), ctypes.addressof(code))
    )
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(
        library.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.c_void_p(ctypes.addressof(described)), 0, 0) == 0
    )


def _audit(event: str, _arguments: tuple[Any, ...]) -> None:
    if event in _REFUSED_EVENTS:
        raise Denied(f"{event} is not allowed while a model is looked at")


def run(request: dict[str, Any], files: dict[str, bytes], limits: Limits) -> dict[str, Any]:
    """What the child answers to `request`; `files` lie in its working folder, which goes with it.

    Raises ModelRefused: with the child's own reason, or that it ran out of memory or time, or broke.
    """
    with tempfile.TemporaryDirectory(prefix="tidemill-import-") as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "tidemill.learn.imports.child"],
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        asked = json.dumps({**request, "limits": limits.__dict__}).encode()
        try:
            answer, said = process.communicate(asked, timeout=limits.wall)
        except subprocess.TimeoutExpired as error:
            raise refused("time", f"looking at it took longer than {limits.wall:g} s") from error
        finally:
            _end(process)
    if process.returncode != 0 or len(answer) > MOST_ANSWER_BYTES:
        raise _broken(process.returncode, said.decode("utf-8", "replace"))
    found: dict[str, Any] = json.loads(answer)
    return found


def _environment(folder: str) -> dict[str, str]:
    """Nothing of ours: the environment of a service holds addresses and keys."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **threads,
        "PATH": "/usr/bin:/bin",
        "HOME": folder,
        "TMPDIR": folder,
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "2",
        "LANG": "C.UTF-8",
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _broken(code: int, said: str) -> Exception:
    last = next((line for line in reversed(said.strip().splitlines()) if line.strip()), "")
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return refused("time", "looking at it took more CPU time than is allowed")
    if "MemoryError" in said or "bad_alloc" in said or "Cannot allocate" in said:
        return refused("memory", "looking at it took more memory than is allowed")
    how = f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with {code}"
    return refused("broken", f"the process that looked at it broke: {how}. {last:.200}")
