"""The command line: `tidemill COMMAND`. Its options, its exit codes, and the one place that prints errors.

What the commands do is in `commands.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from tidemill import (
    __version__,
    access_commands,
    commands,
    contract_commands,
    data_commands,
    model_commands,
    predict_command,
    rollout_commands,
    train_commands,
)
from tidemill.errors import NotFound, TidemillError
from tidemill.home import CHECKOUT, Home

Command = Callable[[argparse.Namespace, Home], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code: 0 done, 1 refused or wrong, 2 misused, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in _PASSED_ON:
            # Their options are those of pytest or of the benchmark, so argparse must not see them.
            return _PASSED_ON[arguments[0]](arguments[1:])
        parser = build_parser()
        if not arguments:
            parser.print_help()
            return 0
        options = parser.parse_args(arguments)
        command: Command = options.command
        code = command(options, Home.find())
        sys.stdout.flush()
        return code
    except TidemillError as error:
        print_error(error)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`head`, `less`) has gone; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print_error(_from_system(error))
        return 1
    except Exception as error:  # noqa: BLE001 - the last line of defence: a person is never shown a traceback
        print_error(_from_fault(error))
        return 1


def print_error(error: TidemillError) -> None:
    from tidemill.console import colour

    print(f"{colour('error:', 'red', sys.stderr)} {error.title}", file=sys.stderr)
    for line in error.detail.splitlines():
        print(f"  {line}", file=sys.stderr)
    if error.remedy:
        print(f"{colour('what to do:', 'bold', sys.stderr)} {error.remedy}", file=sys.stderr)


def _from_system(error: OSError) -> TidemillError:
    return TidemillError(
        "The operating system refused",
        detail=f"{error.strerror or error}" + (f": {error.filename}" if error.filename else ""),
        remedy="Check the path, its permissions and the free disk space; `./tidemill doctor` looks at all three.",
    )


def _from_fault(error: Exception) -> TidemillError:
    """A fault of ours; its traceback is kept in a file, since the home itself may be what is at fault."""
    report = Path(tempfile.gettempdir()) / f"tidemill-fault-{os.getpid()}.txt"
    report.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return TidemillError(
        "Tidemill has a fault of its own",
        detail=f"{type(error).__name__}: {error}",
        remedy=f"Please report it, with {report} and the command you gave.",
    )


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options. Each sets `command` to the function that carries it out."""
    parser = argparse.ArgumentParser(
        prog="tidemill",
        description="From a spreadsheet to a monitored model on one machine of your own.",
        epilog="The home is .tidemill/ in the checkout, or the folder named by TIDEMILL_HOME.",
    )
    parser.add_argument("--version", action="version", version=f"tidemill {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Command, summary: str) -> argparse.ArgumentParser:
        sub = subparsers.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=command)
        return sub

    _add_running(add)
    _add_projects(add)
    _add_development(add)
    return parser


Add = Callable[[str, Command, str], argparse.ArgumentParser]


def _add_running(add: Add) -> None:
    demo = add("demo", commands.demo, "run the whole loop on a real data set, and leave the services running")
    demo.add_argument("--exit", action="store_true", help="stop the services at the end")
    up = add("up", commands.up, "start the services and keep them running")
    up.add_argument("--detach", action="store_true", help="in the background; returns when all are healthy")
    add("down", commands.down, "stop everything of this home")
    status = add("status", commands.status, "show the services, their health, memory and addresses")
    status.add_argument("--json", action="store_true", help="for programs")
    logs = add("logs", commands.logs, "show what the services print")
    logs.add_argument("service", nargs="?", metavar="SERVICE", help="one service only")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as more is written")
    logs.add_argument(
        "-n", "--lines", type=_count, default=50, metavar="N", help="last N lines (default: 50)"
    )
    opened = add("open", commands.open_page, "a link to a page that no key is needed for; it works once")
    opened.add_argument("page", choices=["mlflow"], help="mlflow: runs, plots and registered models")
    doctor = add("doctor", commands.doctor, "check this machine and this home, and say what to mend")
    doctor.add_argument("--json", action="store_true", help="for programs")


def _add_projects(add: Add) -> None:
    init = add("init", commands.init, "make a project from a CSV or Excel file")
    init.add_argument("file", type=Path, metavar="FILE", help="a .csv or .xlsx file with a header line")
    init.add_argument("--name", required=True, help="the project's name: a-z, 0-9 and _")
    init.add_argument("--target", required=True, metavar="COLUMN", help="the column to predict")
    init.add_argument("--task", choices=["binary", "multiclass", "regression", "text_classification"])
    init.add_argument("--force", action="store_true", help="write over a project.yaml that is there")
    sql = add("sql", commands.sql, "query a project's tables and predictions")
    sql.add_argument("name", metavar="NAME", help="the project")
    sql.add_argument("query", metavar="QUERY", help='such as "SELECT count(*) FROM predictions"')
    sql.add_argument("--format", choices=["table", "csv", "json"], default="table")
    data = add("data", _unreachable, "the versions of a project's tables: list, compare, go back, clear away")
    data_commands.add_options(data)
    contract = add(
        "contract", _unreachable, "what a file would change in a project's contract; suggest a new one"
    )
    contract_commands.add_options(contract)
    train = add("train", _unreachable, "start a training, follow it, cancel it, try it again, list them")
    train_commands.add_options(train)
    predict = add("predict", _unreachable, "score every row of a file with a model")
    predict_command.add_options(predict)
    model = add("model", _unreachable, "the models of a project: list, show, import one, rebuild one")
    model_commands.add_options(model)
    rollout = add(
        "rollout", _unreachable, "which model answers, and trying one: shadow, canary, promote, go back"
    )
    rollout_commands.add_options(rollout)
    key = add("key", _unreachable, "make, list and revoke API keys, each for a role and for projects")
    access_commands.add_key_options(key)
    audit = add("audit", _unreachable, "who changed what: list, export, or hold the chain of the audit log")
    access_commands.add_audit_options(audit)


def _add_development(add: Add) -> None:
    # Carried out by _PASSED_ON; they stand here for the help page.
    add("test", _unreachable, "run the tests; options are pytest's")
    add("bench", _unreachable, "run benchmarks/NAME.py with its options")
    add("schema", commands.schema, "write docs/project.schema.json for editors")


def _unreachable(_options: argparse.Namespace, _home: Home) -> int:
    raise AssertionError("test and bench never reach argparse")


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("it must be 0 or more")
    return value


def _run_tests(arguments: list[str]) -> NoReturn:
    os.chdir(CHECKOUT)
    _become([sys.executable, "-m", "pytest", *arguments])


def _run_benchmark(arguments: list[str]) -> NoReturn:
    folder = CHECKOUT / "benchmarks"
    known = sorted(file.name for file in folder.glob("*.py"))
    name = arguments[0] if arguments else ""
    if name not in known:
        raise NotFound(
            "There is no such benchmark" if name else "Which benchmark?",
            detail=f"{name!r} is not in benchmarks/" if name else "no name was given",
            remedy=f"Say `./tidemill bench NAME.py [options]` with one of: {', '.join(known) or 'none yet'}.",
        )
    os.chdir(CHECKOUT)
    _become([sys.executable, str(folder / name), *arguments[1:]])


def _become(command: list[str]) -> NoReturn:
    sys.stdout.flush()
    os.execv(command[0], command)


_PASSED_ON: dict[str, Callable[[list[str]], int]] = {"test": _run_tests, "bench": _run_benchmark}


if __name__ == "__main__":
    sys.exit(main())
