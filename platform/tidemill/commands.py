"""What each command of the command line does: call the core, print what it says, give the exit code.

Every command takes its parsed options and the home. Options are declared in `cli.py`. Imports are made inside
the commands, so that `status` and `--help` answer at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tidemill.home import CHECKOUT, Home


def up(options: argparse.Namespace, home: Home) -> int:
    from tidemill.ops import control

    if not options.detach:
        control.supervise(home, _say_with_time)
        return 0
    state = control.start_detached(home, _say)
    _print_urls(state.urls(), home)
    return 0


def _print_urls(urls: dict[str, str], home: Home) -> None:
    print("Tidemill is up.")
    for title, url in urls.items():
        print(f"  {title:<12} {url}")
    print(f"  {'key':<12} {home.secrets / 'owner.key'}")
    print("See `./tidemill status`; stop with `./tidemill down`.")


def _say(line: str) -> None:
    print(line, flush=True)


def _say_with_time(line: str) -> None:
    """Supervision outlives the terminal or pipe it was started from: a line nobody can read is dropped."""
    try:
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def down(_options: argparse.Namespace, home: Home) -> int:
    from tidemill.ops import control

    ended = control.stop(home, _say)
    print("Tidemill is down." if ended else "Tidemill is not running; nothing to stop.")
    return 0


def status(options: argparse.Namespace, home: Home) -> int:
    """Exit code 0 when every service is healthy, 1 when one is not, 3 when Tidemill does not run."""
    import json

    from tidemill.ops import control

    report = control.report(home)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        from tidemill.ops.show import status_text

        print(status_text(report))
    if not report["running"]:
        return 3
    return 0 if report["healthy"] else 1


def logs(options: argparse.Namespace, home: Home) -> int:
    from tidemill.ops import logs

    chosen = logs.find_logs(home, options.service)
    width = max(len(name) for name in chosen)
    prefix = "" if options.service else "{name:<{width}} | "
    following = logs.follow(chosen) if options.follow else None
    for name, file in chosen.items():
        for line in logs.tail(file, options.lines):
            print(prefix.format(name=name, width=width) + line)
    for batch in following or ():
        for name, line in batch:
            print(prefix.format(name=name, width=width) + line)
        sys.stdout.flush()
    return 0


def doctor(options: argparse.Namespace, home: Home) -> int:
    import json
    from dataclasses import asdict

    from tidemill.ops import doctor
    from tidemill.ops.show import doctor_text

    findings = doctor.examine(home)
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print(doctor_text(findings))
    return 1 if any(finding.state == "wrong" for finding in findings) else 0


def open_page(_options: argparse.Namespace, home: Home) -> int:
    """Print a link into MLflow, whose server is started by asking for one."""
    from tidemill.local import asking

    with asking(home) as client:
        link = client.mlflow_link()
    print(link["url"])
    print(
        f"It works once, within {link['seconds']} seconds; the page is there after about a quarter of a minute."
    )
    return 0


def demo(options: argparse.Namespace, home: Home) -> int:
    from tidemill.ops.demo import run_demo

    return run_demo(home, exit_after=options.exit)


def init(options: argparse.Namespace, home: Home) -> int:
    from tidemill.data.init import init_project

    result = init_project(
        home, options.file, options.name, options.target, task=options.task, force=options.force
    )
    print(result.summary)
    print(f"wrote {result.project_file}")
    return 0


def sql(options: argparse.Namespace, home: Home) -> int:
    from tidemill.ops.show import result_text
    from tidemill.store.sql import query

    home.require_project(options.name)
    result = query(home, options.name, options.query)
    print(result_text(result.columns, result.rows, options.format))
    return 0


def schema(_options: argparse.Namespace, _home: Home) -> int:
    from tidemill.project import write_schema

    target = CHECKOUT / "docs" / "project.schema.json"
    write_schema(target)
    print(f"wrote {target.relative_to(CHECKOUT)}")
    return 0
