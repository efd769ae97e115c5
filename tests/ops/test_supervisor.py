"""The supervisor with real processes that are killed, hung, doubled and robbed of their ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tidemill.errors import NotReady, TidemillError
from tidemill.ops import control
from tidemill.ops.process import MARK
from tidemill.ops.state import write_state


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def quiet(_line: str) -> None:
    pass


def test_starts_in_order_and_down_leaves_nothing(box):
    box.add("first")
    box.add("second", "child", "escaped", needs=["first"])
    box.add("third", needs=["first"])
    supervisor = box.up()
    box.until_healthy()
    said = box.output()
    assert said.index("first    healthy") < said.index("second   starting")
    assert said.index("first    healthy") < said.index("third    starting")
    assert len(box.pids()) == 5

    begun = time.monotonic()
    assert control.stop(box.home, quiet) == 3
    assert time.monotonic() - begun < 3
    assert supervisor.wait(5) == 0
    assert not [pid for pid in box.pids() if alive(pid)]
    assert box.state().phase == "stopped"
    assert {record.state for record in box.state().services} == {"stopped"}
    assert control.stop(box.home, quiet) == 0


def test_killed_service_takes_its_tree_along_and_comes_back(box):
    box.add("web", "child", "escaped")
    box.up()
    box.until_healthy()
    before = box.pids()
    os.kill(box.record("web").pid, signal.SIGKILL)
    box.until(lambda: len(box.pids()) == 6)
    box.until_healthy()
    assert not [pid for pid in before if alive(pid)]
    assert box.record("web").restarts == 1
    assert "signal SIGKILL" in box.output()


def test_hung_service_is_restarted(box):
    told = box.add("web", hang_after=0.6)
    box.up()
    box.until_healthy()
    before = box.record("web").pid
    hang = box.folder / f"hang-{told['port']}"
    hang.touch()
    box.until(lambda: box.record("web").state == "unhealthy")
    box.until(lambda: box.record("web").restarts == 1)
    hang.unlink()
    box.until_healthy()
    assert not alive(before)
    assert "no answer for" in box.output()


def test_stopped_process_counts_as_hung(box):
    box.add("web", hang_after=0.6)
    box.up()
    box.until_healthy()
    os.kill(box.record("web").pid, signal.SIGSTOP)
    box.until(lambda: box.record("web").restarts == 1)
    box.until_healthy()


def test_service_that_ignores_sigterm_is_killed(box):
    box.add("web", "stubborn", grace=0.5)
    supervisor = box.up()
    box.until_healthy()
    control.stop(box.home, quiet)
    assert supervisor.wait(5) == 0
    assert not [pid for pid in box.pids() if alive(pid)]


def test_crashing_service_backs_off_and_fails_alone(box, tmp_path):
    box.add("web")
    box.services.append({"name": "broken", "command": [sys.executable, "-c", "raise SystemExit(3)"]})
    box.services.append({"name": "missing", "command": [str(tmp_path / "no-such-program")]})
    box.up()
    box.until(lambda: box.record("broken").restarts >= 2)
    assert box.record("broken").state == "backoff"
    assert "exit code 3" in box.record("broken").health
    assert "next try in 2 s" in box.output()
    assert "cannot be started" in box.record("missing").health
    assert box.record("web").state == "healthy"


def test_second_supervisor_is_refused(box):
    told = box.add("web")
    first = box.up()
    box.until_healthy()
    second = subprocess.run(box.command, capture_output=True, text=True, timeout=20)
    assert second.returncode == 1
    assert "already running" in second.stderr
    assert f"process {first.pid}" in second.stderr
    assert f"http://127.0.0.1:{told['port']}" in second.stderr
    assert box.state().all_healthy()


def test_killed_supervisor_leaves_orphans_that_the_next_up_ends(box):
    box.add("web", "child", "escaped")
    first = box.up()
    box.until_healthy()
    orphans = box.pids()
    first.kill()
    first.wait()
    assert all(alive(pid) for pid in orphans)
    assert control.running_state(box.home) is None
    assert control.report(box.home)["left_behind"] == ["web"]
    box.up()
    box.until(lambda: len(box.pids()) == 6)
    box.until_healthy()
    assert not [pid for pid in orphans if alive(pid)]


def test_killed_supervisor_leaves_orphans_that_down_ends(box):
    box.add("web", "child", "escaped")
    first = box.up()
    box.until_healthy()
    first.kill()
    first.wait()
    assert control.stop(box.home, quiet) == 3
    assert not [pid for pid in box.pids() if alive(pid)]


def test_a_used_again_pid_is_not_killed(box):
    """The record of a dead supervisor names a pid that now belongs to somebody else."""
    box.add("web")
    first = box.up()
    box.until_healthy()
    first.kill()
    first.wait()
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        state = box.state()
        state.services[0].pid = bystander.pid
        state.services[0].create_time = psutil.Process(bystander.pid).create_time() - 5
        write_state(box.home, state)
        assert control.stop(box.home, quiet) == 1  # the real one, found by its mark
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_ignored_signals_are_not_inherited(box):
    """A script's background job ignores SIGINT and hands that down to everything it starts."""
    box.add("web")

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    supervisor = box.up(preexec_fn=ignore)
    box.until_healthy()
    log = (box.home.logs / "web.log").read_text()
    assert "default_int_handler" in log
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(5) == 0
    assert not [pid for pid in box.pids() if alive(pid)]


def test_port_of_a_stranger_is_named_and_taken_back_when_free(box):
    stranger = socket.create_server(("127.0.0.1", 0))
    box.add("web", port=stranger.getsockname()[1])
    box.up()
    box.until(lambda: "is held by" in box.record("web").health)
    assert f"(pid {os.getpid()})" in box.record("web").health
    stranger.close()
    box.until_healthy()


def test_answer_of_a_stranger_on_our_port_is_not_health(box):
    """A service that says it runs while another program answers in its place."""
    told = box.add("web")
    told["command"] = [sys.executable, "-c", "import time; time.sleep(600)"]
    box.up()
    box.until(lambda: box.record("web").state == "starting")
    toy = Path(__file__).parent / "toy_service.py"
    command = [sys.executable, str(toy), str(told["port"]), str(box.folder)]
    stranger = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        box.until(lambda: "not by this service" in box.record("web").health)
        assert "healthy" not in box.output()
    finally:
        stranger.kill()
        stranger.wait()


def add_project(box):
    project = box.home.projects / "wine" / "project.yaml"
    project.parent.mkdir()
    project.write_text("name: wine\n")


def test_project_files_reload_what_reads_them(box):
    box.add("code", reload_on_projects=True)
    box.add("worker", port=0)
    box.add("web")
    box.up()
    box.until_healthy()
    box.until(lambda: box.state().loaded)
    before = {name: box.record(name).pid for name in ("code", "worker", "web")}
    add_project(box)
    assert control.wait_loaded(box.home, timeout=15)
    assert box.record("code").pid not in (before["code"], None)
    assert box.record("web").pid == before["web"]
    assert box.record("code").restarts == 0
    assert not alive(before["code"])
    assert box.record("worker").pid == before["worker"]


def test_a_service_on_demand_runs_while_it_is_wanted(box):
    box.add("one")
    box.add("two", wanted_by="wanted", on_demand=True, optional=True)
    box.up()
    box.until_healthy()
    assert box.state().service("two") is None
    for _ in range(2):
        (box.folder / "wanted").touch()
        box.until(lambda: box.record("two").state == "healthy")
        pid = box.record("two").pid
        (box.folder / "wanted").unlink()
        box.until(lambda: box.state().service("two") is None)
        assert not psutil.pid_exists(pid)
    assert box.record("one").restarts == 0


def test_detached_start_waits_for_health_and_is_harmless_twice(box):
    told = box.add("web")
    said: list[str] = []
    state = control.start_detached(box.home, said.append, command=box.command, timeout=20)
    assert state.all_healthy()
    assert any("web      healthy" in line for line in said)
    again = control.start_detached(box.home, said.append, command=box.command, timeout=20)
    assert again.supervisor == state.supervisor
    assert f"http://127.0.0.1:{told['port']}" in "\n".join(said)
    report = control.report(box.home)
    assert report["healthy"]
    assert report["services"][0]["memory"] > 1_000_000
    assert 1_000_000 < report["supervisor"]["memory"] < 60_000_000
    control.stop(box.home, quiet)


def test_detached_start_names_the_service_that_does_not_come_up(box):
    box.add("web")
    box.services.append({"name": "broken", "command": [sys.executable, "-c", "raise SystemExit('no data')"]})
    with pytest.raises(NotReady) as refused:
        control.start_detached(box.home, quiet, command=box.command, timeout=30)
    assert "broken is backoff: ended with exit code 1" in refused.value.detail
    assert "    no data" in refused.value.detail
    assert "web" not in refused.value.detail


def test_detached_start_tells_why_the_supervisor_ended(box):
    (box.folder / "broken.py").write_text("raise SystemExit('it cannot')")
    with pytest.raises(TidemillError, match="did not start") as refused:
        control.start_detached(box.home, quiet, command=[sys.executable, str(box.folder / "broken.py")])
    assert "it cannot" in refused.value.detail


def test_mark_is_inherited_by_services(box):
    box.add("web")
    box.up()
    box.until_healthy()
    assert psutil.Process(box.record("web").pid).environ()[MARK].startswith(f"tidemill|{box.home.root}|web|")
