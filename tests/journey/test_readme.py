"""README's own journey: a newcomer's file, its commands in their order, word for word but for home and port."""

import csv
import random
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tidemill.client import Client

from .conftest import Box, until

pytestmark = pytest.mark.services

README = (Path(__file__).parents[2] / "README.md").read_text()
# The demo and the tests are run by the rest of the suite; `down` would end what other tests need.
ELSEWHERE = {"demo", "test", "down"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def commands() -> list[str]:
    lines = [line for block in blocks("console") for line in block.replace("\\\n", " ").splitlines()]
    return [re.sub(r"\s+#.*", "", line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]


@pytest.fixture(scope="module")
def customers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like the README's, whose customers leave when they are new and on the basic plan."""
    folder = tmp_path_factory.mktemp("newcomer")
    chance = random.Random(5)
    with (folder / "customers.csv").open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["customer", "months", "plan", "left"])
        for number in range(400):
            months, plan = chance.randint(0, 60), chance.choice(["basic", "plus"])
            leaves = chance.random() < (0.85 if months < 20 and plan == "basic" else 0.1)
            rows.writerow([f"C{number:04d}", months, plan, "yes" if leaves else "no"])
    return folder


def test_its_commands_run_in_their_order(box: Box, client: Client, customers: Path) -> None:
    for command in commands():
        words = shlex.split(command)
        if words[0] == "./tidemill":
            if words[1] not in ELSEWHERE:
                arguments = [str(customers / word) if word == "customers.csv" else word for word in words[1:]]
                assert "Traceback" not in box.tidemill(*arguments).stderr
            continue
        if "trainings" in command:
            until(lambda: client.project("churn")["rows"], "the sensor to take the file")
        done = subprocess.run(
            command.replace("http://127.0.0.1:8700", box.url("api")).replace(
                ".tidemill/", f"{box.home.root}/"
            ),
            shell=True,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert '"id"' in done.stdout, done.stdout
        if "trainings" in command:
            until(
                lambda: client.trainings("churn")[0]["status"] == "succeeded", "the training to succeed", 180
            )


def test_its_python_runs(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_HOME", str(box.home.root))
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
