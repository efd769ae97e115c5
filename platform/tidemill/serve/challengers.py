"""The challenger of a deployment: put into shadow, made a canary, paused, withdrawn.

Here belong these changes and what each needs; promoting and rolling back change the champion
(`serve/deployment.py`). Every change takes `expected_revision`, who and why as `deployment.deploy` does.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from tidemill.errors import Conflict, InvalidInput
from tidemill.serve.deployment import Challenger, Deployment, Stage, expected, store
from tidemill.store.state import State, now


def shadow(
    state: State,
    project: str,
    version: int,
    *,
    expected_revision: int | None = None,
    actor: str,
    reason: str,
    replaces: bool = False,
) -> Deployment:
    """Ask `version` beside the champion, for comparison. A canary steps down to it.

    Raises Conflict when there is no champion, when `version` is it, or when another model is the challenger and
    `replaces` is not set.
    """
    with state.begin() as connection:
        before = _challenged(connection, project, version, expected_revision, replaces)
        return _change_challenger(
            connection, before, _staged(before, version, "shadow", None), "shadow", version, actor, reason
        )


def canary(
    state: State,
    project: str,
    version: int,
    percent: float,
    *,
    expected_revision: int | None = None,
    actor: str,
    reason: str,
    replaces: bool = False,
) -> Deployment:
    """Let `version` answer `percent` of the entities: over 0, at most 100.

    Raises as `shadow`, and InvalidInput.
    """
    if not 0 < percent <= 100:
        raise InvalidInput(
            "That is not a share for a canary",
            detail=f"{percent:g} percent",
            remedy="Give more than 0 and at most 100.",
        )
    with state.begin() as connection:
        before = _challenged(connection, project, version, expected_revision, replaces)
        after = _staged(before, version, "canary", percent)
        return _change_challenger(connection, before, after, "canary", version, actor, reason)


def pause(
    state: State, project: str, *, expected_revision: int | None = None, actor: str, reason: str
) -> Deployment:
    """Ask the challenger nothing until `resume`. Raises Conflict without one. Pausing twice changes nothing."""
    return _set_paused(state, project, True, expected_revision, actor, reason)


def resume(
    state: State, project: str, *, expected_revision: int | None = None, actor: str, reason: str
) -> Deployment:
    """Go on after `pause`, with the same entities. Raises Conflict without a challenger."""
    return _set_paused(state, project, False, expected_revision, actor, reason)


def withdraw(
    state: State,
    project: str,
    *,
    expected_revision: int | None = None,
    actor: str,
    reason: str,
    detail: Mapping[str, Any] | None = None,
) -> Deployment:
    """End the challenger: the champion answers everyone. `detail` says what a policy found. Raises Conflict."""
    with state.begin() as connection:
        before = _with_challenger(connection, project, expected_revision)
        assert before.challenger is not None
        version = before.challenger.version
        return _change_challenger(connection, before, None, "withdraw", version, actor, reason, detail)


def _challenged(
    connection: sa.Connection, project: str, version: int, expected_revision: int | None, replaces: bool
) -> Deployment:
    """The deployment that `version` may challenge."""
    before = expected(connection, project, expected_revision)
    if before is None:
        raise Conflict(
            "There is no champion to challenge",
            detail=f"project {project}: nothing was deployed yet",
            remedy="Deploy a model first.",
        )
    if before.champion == version:
        raise Conflict(
            "The model is the champion already",
            detail=f"model {version} of project {project} answers everyone",
            remedy="Choose another version.",
        )
    its = before.challenger
    if its is not None and its.version != version and not replaces:
        raise Conflict(
            "There is a challenger already",
            detail=f"model {its.version} of project {project} is in {its.stage} since {its.since_at}",
            remedy="Withdraw or promote it first.",
            challenger=its.version,
        )
    return before


def _with_challenger(connection: sa.Connection, project: str, expected_revision: int | None) -> Deployment:
    before = expected(connection, project, expected_revision)
    if before is None or before.challenger is None:
        raise Conflict(
            "There is no challenger",
            detail=f"project {project} has no model in shadow or canary",
            remedy="Put one into shadow or make it a canary first.",
        )
    return before


def _staged(before: Deployment, version: int, stage: Stage, percent: float | None) -> Challenger:
    """`version` as challenger at `stage` of the revision to come; `since` stays while only the percent changes."""
    its = before.challenger
    same = its if its is not None and its.version == version else None
    stays = same is not None and same.stage == stage
    return Challenger(
        version=version,
        stage=stage,
        percent=percent,
        salt=same.salt if same else secrets.token_hex(8),
        paused=False,
        since=same.since if same and stays else before.revision + 1,
        since_at=same.since_at if same and stays else now(),
    )


def _set_paused(
    state: State, project: str, paused: bool, expected_revision: int | None, actor: str, reason: str
) -> Deployment:
    with state.begin() as connection:
        before = _with_challenger(connection, project, expected_revision)
        its = before.challenger
        assert its is not None
        if its.paused == paused:
            return before
        after, action = replace(its, paused=paused), "pause" if paused else "resume"
        return _change_challenger(connection, before, after, action, its.version, actor, reason)


def _change_challenger(
    connection: sa.Connection,
    before: Deployment,
    challenger: Challenger | None,
    action: str,
    version: int,
    actor: str,
    reason: str,
    detail: Mapping[str, Any] | None = None,
) -> Deployment:
    after = replace(before, revision=before.revision + 1, changed_at=now(), challenger=challenger)
    return store(connection, before, after, action, version, actor, reason, detail)
