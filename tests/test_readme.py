"""README's promises: its commands exist and run, its links lead somewhere, its files are there."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    re.sub(r"\s+#.*", "", line.removeprefix("$ "))
    for block in re.findall(r"```console\n(.*?)```", README, re.S)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("$ ")
]
TIDEMILL = [shlex.split(command) for command in COMMANDS if command.startswith("./tidemill")]


def test_the_command_that_runs_it_stands_near_the_top() -> None:
    assert "./tidemill demo" in "\n".join(README.splitlines()[:20])


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("folder", re.findall(r"^\| `([a-z/]+/)` \|", README, re.M))
def test_folders_of_the_house_exist(folder: str) -> None:
    assert (ROOT / folder).is_dir()


@pytest.mark.parametrize("command", TIDEMILL, ids=" ".join)
def test_commands_exist(command: list[str]) -> None:
    """Demo and test are run by the journey and by CI; here each is known to the command line."""
    name = command[1]
    helped = subprocess.run(
        [str(ROOT / "tidemill"), "--help"], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert re.search(rf"^\s+{re.escape(name)}\b", helped.stdout, re.M) or name in helped.stdout


def test_every_number_was_measured() -> None:
    assert "TODO" not in README
