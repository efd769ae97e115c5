"""A small service for the supervisor's tests: answers HTTP with JSON, and misbehaves when told.

    toy_service.py PORT FOLDER [child] [escaped] [stubborn]

`child` starts a grandchild in the same group, `escaped` one in a session of its own, `stubborn` ignores SIGTERM.
A file FOLDER/hang-PORT makes every answer hang.
Each pid is appended to FOLDER/pids.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

port, folder, options = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
SLEEP = "import time; time.sleep(600)"


def note(pid: int, role: str) -> None:
    with open(folder / "pids", "a") as file:
        file.write(f"{pid} {role}\n")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        while (folder / f"hang-{port}").exists():
            time.sleep(0.1)
        body = json.dumps({"service": "toy"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


note(os.getpid(), "leader")
print(f"toy {port} sigint={signal.getsignal(signal.SIGINT)}", flush=True)
if "child" in options:
    note(subprocess.Popen([sys.executable, "-c", SLEEP]).pid, "child")
if "escaped" in options:
    note(subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True).pid, "escaped")
if "stubborn" in options:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if port == 0:  # one that is found by nothing but its pid
    while True:
        time.sleep(1)
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
