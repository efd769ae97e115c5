"""`tidemill key` and `tidemill audit`: who may come in, and who changed what.

Here belong the command line's words. Keys are `ops/keys.py`, roles `ops/access.py`, the log `store/audit.py`.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys

from tidemill.errors import InvalidInput
from tidemill.home import Home

ROLES = "viewer, labeler, trainer, promoter, admin"


def add_key_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=key)
    parser.add_argument("action", choices=["create", "list", "revoke"])
    parser.add_argument("name", nargs="?", metavar="NAME", help="the key's name (for create and revoke)")
    parser.add_argument(
        "--role", default="viewer", help=f"one of {ROLES}: each may do what those before it may (viewer)"
    )
    parser.add_argument(
        "--project", action="append", metavar="P", help="reach this project alone; may be said again"
    )
    parser.add_argument("--rate", type=float, metavar="N", help="at most N requests a second")
    parser.add_argument("--days", type=float, metavar="N", help="expire after N days")


def add_audit_options(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=audit)
    parser.add_argument("action", choices=["list", "export", "verify"])
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="entries to list (50)")
    parser.add_argument(
        "--head", metavar="HASH", help="a head that `verify` printed earlier: must be in the log"
    )


def key(options: argparse.Namespace, home: Home) -> int:
    from tidemill.ops import keys
    from tidemill.ops.access import Role
    from tidemill.ops.show import keys_text
    from tidemill.settings import load_settings
    from tidemill.store import audit as log
    from tidemill.store.state import open_state

    state = open_state(home.ensure(), load_settings().database_url)
    if options.action == "list":
        print(keys_text(keys.list_keys(state)))
        return 0
    if not options.name:
        raise InvalidInput(
            "A key has a name",
            detail=f"`tidemill key {options.action}` was given none",
            remedy=f"Say `./tidemill key {options.action} NAME`, such as the program or person that uses it.",
        )
    if options.action == "create":
        for project in options.project or ():
            home.require_project(project)
        rights = {"projects": options.project, "per_second": options.rate, "days": options.days}
        secret = keys.create_key(state, options.name, role=Role.of(options.role), **rights)
        log.append(
            state, _person(), "key create", subject={"key": options.name, "role": options.role, **rights}
        )
        print(secret)
        print("Keep it: it is shown this once.", file=sys.stderr)
    else:
        keys.revoke_key(state, options.name)
        log.append(state, _person(), "key revoke", subject={"key": options.name})
        print(f"revoked {options.name}")
    return 0


def audit(options: argparse.Namespace, home: Home) -> int:
    from tidemill.console import table
    from tidemill.settings import load_settings
    from tidemill.store import audit as log
    from tidemill.store.state import open_state

    state = open_state(home.ensure(), load_settings().database_url)
    if options.action == "export":
        for entry in log.entries(state):
            print(json.dumps(entry))
        return 0
    if options.action == "verify":
        count, head = log.verify(state, options.head)
        print(f"{count} entries, each sealed by the next. Head: {head}")
        return 0
    names = ["seq", "at", "actor", "role", "action", "project", "subject", "status"]
    rows = [
        [json.dumps(entry[name]) if name == "subject" else entry[name] for name in names]
        for entry in log.newest(state, options.limit)
    ]
    print(table(names, rows) if rows else "Nothing was changed yet.")
    return 0


def _person() -> str:
    """Whoever sits at this machine: its owner by right of the files."""
    return f"{getpass.getuser()} (command line)"
