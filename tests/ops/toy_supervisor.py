"""A supervisor over services read from a JSON file, for the tests: toy_supervisor.py HOME SERVICES.json."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tidemill.errors import TidemillError
from tidemill.home import Home
from tidemill.ops.health import http_check
from tidemill.ops.runner import Say
from tidemill.ops.services import Service
from tidemill.ops.supervisor import Supervisor


def build(file: Path) -> list[Service]:
    services = []
    for told in json.loads(file.read_text()):
        url = f"http://127.0.0.1:{told['port']}" if told.get("port") else None
        check = http_check(url, json_members={"service": "toy"}, timeout=0.5) if url else None
        if wanted := told.pop("wanted_by", None):  # a file that is there while the service is wanted
            told["wanted"] = (file.parent / wanted).exists
        services.append(
            Service(title=told["name"], env=dict(os.environ), cwd=file.parent, health=check, url=url, **told)
        )
    return services


def say(line: str) -> None:
    print(line, flush=True)


def build_said(_say: Say) -> list[Service]:
    return build(Path(sys.argv[2]))


if __name__ == "__main__":
    try:
        Supervisor(Home(Path(sys.argv[1])), build_said, say).run()
    except TidemillError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
