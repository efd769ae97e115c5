"""The command line: its errors, exit codes and output. The work behind each command is tested where it is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tidemill import cli, console
from tidemill.errors import NotReady
from tidemill.home import CHECKOUT
from tidemill.ops.show import keys_text, result_text, status_text


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_alone_it_prints_help(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    for command in ("up", "down", "status", "logs", "doctor", "init", "demo", "sql", "test", "bench", "key"):
        assert f"\n    {command} " in out


@pytest.mark.parametrize("arguments", [["fly"], ["logs", "-n", "-4"], ["logs", "-n", "x"], ["init", "a.csv"]])
def test_misuse_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_a_fault_of_ours_shows_no_traceback_and_keeps_one(capsys, monkeypatch, tmp_path):
    def broken(*_):
        raise RuntimeError("boom")

    monkeypatch.setattr(cli.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(cli.commands, "status", broken)
    assert cli.main(["status"]) == 1
    told = capsys.readouterr().err
    assert "fault of its own" in told
    assert "Traceback" not in told
    (report,) = tmp_path.glob("tidemill-fault-*.txt")
    assert str(report) in told
    assert "RuntimeError: boom" in report.read_text()


@pytest.mark.usefixtures("home")
def test_an_error_says_what_and_what_to_do(capsys):
    assert cli.main(["logs", "nothing"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: There is no such log\n")
    assert "what to do: " in printed.err


def test_a_refusal_of_the_system_is_an_error_too(monkeypatch, capsys):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device", "/data/x")

    monkeypatch.setattr("tidemill.commands.status", full)
    assert cli.main(["status"]) == 1
    assert "No space left on device: /data/x" in capsys.readouterr().err


def test_interruption_is_130(monkeypatch):
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("tidemill.commands.status", interrupted)
    assert cli.main(["status"]) == 130


def test_a_reader_that_left_is_no_error(home):
    home.joinpath("logs").mkdir(parents=True)
    home.joinpath("logs", "api.log").write_text("a long line of some service\n" * 100_000)
    show = subprocess.Popen(
        [sys.executable, "-m", "tidemill.cli", "logs", "api", "-n", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert show.stdout is not None
    assert show.stdout.readline()
    show.stdout.close()
    assert show.stderr is not None
    assert show.stderr.read() == b""
    show.stderr.close()
    assert show.wait(20) == 141


@pytest.mark.usefixtures("home")
def test_status_and_down_when_nothing_runs(capsys):
    assert cli.main(["status"]) == 3
    assert "not running" in capsys.readouterr().out
    assert cli.main(["status", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["running"] is False
    assert cli.main(["down"]) == 0
    assert "nothing to stop" in capsys.readouterr().out


@pytest.mark.usefixtures("home")
def test_up_is_refused_on_a_public_address(monkeypatch, capsys):
    monkeypatch.setenv("TIDEMILL_HOST", "0.0.0.0")
    assert cli.main(["up"]) == 1
    assert "only listens on this machine" in capsys.readouterr().err


def test_logs_prefixes_services_only_when_there_are_several(home, capsys):
    folder = home / "logs"
    folder.mkdir(parents=True)
    folder.joinpath("api.log").write_text("hello\n")
    folder.joinpath("worker.log").write_text("there\n")
    assert cli.main(["logs"]) == 0
    assert capsys.readouterr().out == "api    | hello\nworker | there\n"
    assert cli.main(["logs", "api"]) == 0
    assert capsys.readouterr().out == "hello\n"


@pytest.mark.parametrize("arguments", [["bench"], ["bench", "no.py"], ["bench", "../tests/test_cli.py"]])
def test_an_unknown_benchmark_is_answered_with_those_there_are(arguments, capsys):
    assert cli.main(arguments) == 1
    assert "./tidemill bench NAME.py" in capsys.readouterr().err


def test_looking_is_quick():
    """Nothing heavy is imported for `status`, which people and scripts call all the time."""
    heavy = "{'pandas', 'sklearn', 'duckdb', 'sqlalchemy', 'pydantic', 'dagster', 'httpx', 'numpy'}"
    code = f"import sys; from tidemill import cli; cli.main(['status']); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_query_answers_in_three_forms():
    columns, rows = ["name", "rows"], [("wine", 178), ("a\nb", None)]
    assert result_text(columns, rows, "table").splitlines() == [
        "name  rows",
        "----  ----",
        "wine   178",
        "a b",
        "(2 rows)",
    ]
    assert result_text(columns, rows, "csv") == 'name,rows\nwine,178\n"a\nb",'
    assert json.loads(result_text(columns, rows, "json"))[1] == {"name": "a\nb", "rows": None}
    assert result_text(["n"], [], "table").endswith("(0 rows)")


def test_keys_are_a_table():
    assert "no keys yet" in keys_text([])
    assert "owner" in keys_text([{"name": "owner", "created_at": "2026-01-01"}])


def test_status_names_trouble():
    service = {
        "service": "api", "state": "failing", "since": 0.0, "pid": None, "memory": 0, "restarts": 7,
        "url": "http://127.0.0.1:8700", "port": 8700, "health": "ended with exit code 1",
    }  # fmt: skip
    report = {
        "running": True, "phase": "running", "started": 0.0, "home": "/h", "memory": 2_500_000_000,
        "supervisor": {"pid": 1, "memory": 1}, "services": [service],
    }  # fmt: skip
    text = status_text(report)
    assert "failing" in text
    assert "http://127.0.0.1:8700  ended with exit code 1" in text
    assert "memory of all: 2.5 GB; home /h" in text


def test_status_tells_memory_without_what_runs_only_where_it_is_wanted():
    part = {"state": "healthy", "since": 0.0, "pid": 1, "restarts": 0, "url": "", "port": 1, "health": ""}
    report = {
        "running": True, "phase": "running", "started": 0.0, "home": "/h", "memory": 1_400_000_000,
        "supervisor": {"pid": 1, "memory": 0},
        "services": [
            {**part, "service": "api", "memory": 1_000_000_000, "optional": False},
            {**part, "service": "label-studio", "memory": 400_000_000, "optional": True},
        ],
    }  # fmt: skip
    assert "memory of all: 1.4 GB, without label-studio 1.0 GB; home /h" in status_text(report)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (61, "1 min 1 s"), (7200, "2 h"), (90061, "1 d 1 h")]
)
def test_durations(seconds, text):
    assert console.duration(seconds) == text


def test_error_text_has_every_part(capsys):
    cli.print_error(NotReady("It waits", detail="for one\nand two", remedy="wait too"))
    assert capsys.readouterr().err == "error: It waits\n  for one\n  and two\nwhat to do: wait too\n"
