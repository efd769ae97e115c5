"""The launcher in a checkout of its own, with a stand-in for uv that makes a stand-in for Python."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tidemill.home import CHECKOUT

UV = """#!/bin/sh
echo "$@" >> "{root}/uv-calls"
echo "uv at work" >&2
[ -e "{root}/uv-fails" ] && echo "no route to the registry" >&2 && exit 2
[ -e "{root}/uv-hangs" ] && sleep 60
sleep 0.3
mkdir -p "$UV_PROJECT_ENVIRONMENT/bin"
printf '#!/bin/sh\\necho ran "$@"\\nexit 7\\n' > "$UV_PROJECT_ENVIRONMENT/bin/python"
chmod +x "$UV_PROJECT_ENVIRONMENT/bin/python"
"""


class Checkout:
    def __init__(self, root, tools):
        self.root = root
        self.environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}

    def start(self):
        return subprocess.Popen(
            [sys.executable, str(self.root / "tidemill"), "status", "--json"],
            env=self.environment,
            cwd="/",
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self):
        launch = self.start()
        out, err = launch.communicate(timeout=30)
        return launch.returncode, out, err

    def syncs(self):
        calls = self.root / "uv-calls"
        return calls.read_text().count("sync --frozen") if calls.exists() else 0


@pytest.fixture
def checkout(tmp_path):
    root, tools = tmp_path / "a checkout", tmp_path / "tools"
    root.mkdir()
    tools.mkdir()
    shutil.copy(CHECKOUT / "tidemill", root)
    (root / "uv.lock").write_text("lock")
    (root / "pyproject.toml").write_text("project")
    (tools / "uv").write_text(UV.format(root=root))
    (tools / "uv").chmod(0o755)
    return Checkout(root, tools)


RAN = "ran -P -m tidemill.cli status --json\n"


def test_sets_up_once_and_passes_arguments_and_exit_code_on(checkout):
    code, out, err = checkout.run()
    assert (code, out) == (7, RAN)
    assert err == "Setting up (first time, about a minute) ...\n"
    begun = time.monotonic()
    assert checkout.run() == (7, RAN, "")
    assert time.monotonic() - begun < 0.5
    assert checkout.syncs() == 1


@pytest.mark.parametrize("name", ["uv.lock", "pyproject.toml"])
def test_a_change_of_what_it_is_made_from_updates_it(checkout, name):
    checkout.run()
    (checkout.root / name).write_text("changed")
    code, out, err = checkout.run()
    assert (code, out, err) == (7, RAN, "Updating the environment ...\n")
    assert checkout.syncs() == 2


def test_a_failure_shows_what_uv_said_and_is_tried_again(checkout):
    (checkout.root / "uv-fails").touch()
    code, out, err = checkout.run()
    assert (code, out) == (1, "")
    assert "no route to the registry" in err
    assert "what to do:" in err
    assert "Traceback" not in err
    (checkout.root / "uv-fails").unlink()
    assert checkout.run()[:2] == (7, RAN)


def test_an_interrupted_set_up_is_taken_up_again(checkout):
    (checkout.root / "uv-hangs").touch()
    launch = checkout.start()
    while checkout.syncs() == 0:
        time.sleep(0.02)
    os.killpg(launch.pid, signal.SIGKILL)
    launch.communicate()
    (checkout.root / "uv-hangs").unlink()
    assert checkout.run()[:2] == (7, RAN)


def test_two_launches_at_once_set_up_once(checkout):
    launches = [checkout.start(), checkout.start()]
    for launch in launches:
        assert launch.communicate(timeout=30)[0] == RAN
    assert checkout.syncs() == 1


def test_a_moved_checkout_makes_its_environment_anew(checkout, tmp_path):
    checkout.run()
    (checkout.root / ".venv" / "trace").touch()
    moved = tmp_path / "moved"
    checkout.root.rename(moved)
    (tmp_path / "tools" / "uv").write_text(UV.format(root=moved))
    checkout.root = moved
    assert checkout.run()[:2] == (7, RAN)
    assert not (moved / ".venv" / "trace").exists()


def test_an_environment_whose_python_is_gone_is_made_anew(checkout):
    checkout.run()
    python = checkout.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.11")
    assert checkout.run()[:2] == (7, RAN)
    assert checkout.syncs() == 2


@pytest.fixture
def launcher():
    loader = importlib.machinery.SourceFileLoader("launcher", str(CHECKOUT / "tidemill"))
    spec = importlib.util.spec_from_loader("launcher", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("version", [(3, 9, 2), (3, 13, 0)])
def test_a_python_that_does_not_fit_is_refused_with_the_way_out(launcher, monkeypatch, tmp_path, version):
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        launcher.use_fitting_python()
    assert "needs Python 3.11 or 3.12; this is {}.{}.{}".format(*version) in str(ended.value)
    assert "apt install python3.11" in str(ended.value)


def test_a_fitting_python_on_path_is_used_instead(launcher, monkeypatch, tmp_path):
    other = tmp_path / "python3.11"
    other.write_text("#!/bin/sh\nexit 0\n")
    other.chmod(0o755)
    became: list[str] = []
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")

    def exec_it(path: str, _arguments: list[str]) -> None:
        became.append(path)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", exec_it)
    with pytest.raises(SystemExit):
        launcher.use_fitting_python()
    assert became == [str(other)]
