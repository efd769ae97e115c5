"""`tidemill rollout ...`: which model answers, which one is tried beside it, and changing that.

They go through the API, which loads a model before it lets it answer. Options are declared here, imports are made
inside the commands, as in `commands.py`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tidemill.console import table
from tidemill.errors import Conflict
from tidemill.home import Home

if TYPE_CHECKING:
    from tidemill.client import Client
    from tidemill.client_types import ComparisonInfo, DeploymentInfo

BEGIN_SECONDS = 60.0

Act = Callable[["Client", argparse.Namespace, "DeploymentInfo"], "DeploymentInfo"]


def add_options(rollout: argparse.ArgumentParser) -> None:
    """The actions of `tidemill rollout`, each with its options."""
    actions = rollout.add_subparsers(title="actions", metavar="ACTION", required=True)

    def add(name: str, act: Act | None, summary: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=run, act=act)
        sub.add_argument("name", metavar="NAME", help="the project")
        sub.add_argument("--json", action="store_true", help="for programs")
        if act is not None:
            sub.add_argument("--reason", required=True, metavar="TEXT", help="why; kept in the history")
            sub.add_argument(
                "--revision",
                type=int,
                metavar="N",
                help="only if the deployment is still at this revision (default: at the one seen now)",
            )
        return sub

    add("show", None, "what answers, what is tried beside it, and every change")
    compared = add("compare", None, "how champion and challenger differ on the same records")
    compared.set_defaults(command=compare)
    promoted = add("promote", promote, "make a model answer everyone; without VERSION the challenger")
    promoted.add_argument("version", nargs="?", type=int, metavar="VERSION")
    tried = add(
        "canary", canary, "let a model answer a share of the entities; without VERSION the challenger"
    )
    tried.add_argument("version", nargs="?", type=int, metavar="VERSION")
    tried.add_argument("--percent", type=float, metavar="P", help="the share (default: project.yaml's)")
    for sub in (promoted, tried):
        sub.add_argument("--despite-gate", action="store_true", help="a model that has not passed its gate")
    beside = add("shadow", shadow, "ask a model beside the live one, for comparison")
    beside.add_argument("version", type=int, metavar="VERSION")
    add("rollback", _plain("rollback"), "put back the model that answered before")
    add("pause", _plain("pause"), "ask the challenger nothing until it is resumed")
    add("resume", _plain("resume"), "go on with the challenger")
    add("withdraw", _plain("withdraw"), "end the shadow or canary")


def run(options: argparse.Namespace, home: Home) -> int:
    from tidemill.local import asking

    home.require_project(options.name)
    with asking(home) as client:
        found = client.deployment(options.name)
        if options.act is not None:
            found = options.act(client, options, found)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(shown(found) if options.act is None else state_text(found))
    return 0


def compare(options: argparse.Namespace, home: Home) -> int:
    from tidemill.local import asking

    home.require_project(options.name)
    with asking(home) as client:
        found = _begun(client, options.name)
    print(json.dumps(found, indent=2) if options.json else compared_text(found))
    return 0


def _begun(client: Client, project: str) -> ComparisonInfo:
    """The comparison, waited for while its model is being loaded. Raises ApiError."""
    from tidemill.client import ApiError

    until = time.monotonic() + BEGIN_SECONDS
    while True:
        try:
            return client.comparison(project)
        except ApiError as error:
            if error.slug != "not-ready" or time.monotonic() > until:
                raise
        time.sleep(0.5)


def compared_text(found: ComparisonInfo) -> str:
    """The comparison for a terminal."""
    apart, quality, errors = found["difference"], found["quality"], found["errors"]
    lines = [
        f"Model {found['challenger']} in {found['stage']} beside model {found['champion']} since "
        f"{found['since_at'][:19]}, {found['compared']} records compared.",
        f"same answer: {found['agreement']:.2%}" if found["agreement"] is not None else "",
        f"apart on average {apart['mean_absolute']:.4g}, at most {apart['largest']:.4g}" if apart else "",
        f"failed: {errors['count']}" + (f", last: {errors['last']}" if errors["last"] else ""),
        f"left out, because it could not keep up: {found['dropped']}",
    ]
    if quality is not None:
        lines.append(
            f"{quality['measure']} on {quality['count']} known truths: {quality['challenger']:.4g} against "
            f"{quality['champion']:.4g} (difference {quality['low']:.4g} to {quality['high']:.4g})"
        )
    if found["breach"] is not None:
        lines.append(f"taken back: {found['breach']['text']}")
    rows = [
        [name, times["count"], times["p50_ms"], times["p95_ms"], times["p99_ms"]]
        for name, times in found["latency"].items()
    ]
    lines += ["", table(["latency (ms)", "count", "p50", "p95", "p99"], rows)]
    return "\n".join(line for index, line in enumerate(lines) if line or index > 3)


def promote(client: Client, options: argparse.Namespace, found: DeploymentInfo) -> DeploymentInfo:
    return client.deploy(
        options.name,
        _version(options, found),
        options.reason,
        _revision(options, found),
        despite_gate=options.despite_gate,
    )


def canary(client: Client, options: argparse.Namespace, found: DeploymentInfo) -> DeploymentInfo:
    return client.canary(
        options.name,
        _version(options, found),
        options.reason,
        _revision(options, found),
        percent=options.percent,
        despite_gate=options.despite_gate,
    )


def shadow(client: Client, options: argparse.Namespace, found: DeploymentInfo) -> DeploymentInfo:
    return client.shadow(options.name, options.version, options.reason, _revision(options, found))


def state_text(found: DeploymentInfo) -> str:
    """What answers now, on one line."""
    if found["champion"] is None:
        return "No model answers yet."
    text = f"Model {found['champion']} answers (revision {found['revision']})."
    its = found["challenger"]
    if its is None:
        return text
    share = f" of {its['percent']:g} %" if its["percent"] is not None else ""
    paused = ", paused" if its["paused"] else ""
    return f"{text} Model {its['version']} is in {its['stage']}{share}{paused} since {its['since_at'][:19]}."


def shown(found: DeploymentInfo) -> str:
    """The state and every change, newest first."""
    rows = [
        [
            event["revision"],
            event["at"][:19],
            event["action"],
            event["version"],
            event["percent"],
            event["actor"],
            event["reason"],
        ]
        for event in found["history"]
    ]
    headers = ["revision", "at", "change", "model", "percent", "who", "why"]
    return "\n\n".join([state_text(found), *([table(headers, rows)] if rows else [])])


def _plain(name: str) -> Act:
    def act(client: Client, options: argparse.Namespace, found: DeploymentInfo) -> DeploymentInfo:
        done: DeploymentInfo = getattr(client, name)(options.name, options.reason, _revision(options, found))
        return done

    return act


def _revision(options: argparse.Namespace, found: DeploymentInfo) -> int:
    return found["revision"] if options.revision is None else int(options.revision)


def _version(options: argparse.Namespace, found: DeploymentInfo) -> int:
    if options.version is not None:
        return int(options.version)
    if found["challenger"] is None:
        raise Conflict(
            "There is no challenger",
            detail=f"project {options.name} has no model in shadow or canary",
            remedy=f"Name a version; `./tidemill model list {options.name}` shows them.",
        )
    return found["challenger"]["version"]
