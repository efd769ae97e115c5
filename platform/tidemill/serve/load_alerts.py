"""What is said and done when a model that should answer does not load.

Here belong the alert of a champion that did not load (the one before goes on answering), and taking back a canary
that did not. Loading and trying again are the business of `serve/service.py`.
"""

from __future__ import annotations

import logging

from sqlalchemy.exc import SQLAlchemyError

from tidemill.errors import Conflict, TidemillError
from tidemill.monitor.alerts import raise_alert, resolve
from tidemill.serve.challengers import withdraw
from tidemill.serve.deployment import Deployment
from tidemill.serve.live import Live
from tidemill.store.state import State

# Who the history names for what nobody asked for.
POLICY = "rollout policy"

logger = logging.getLogger(__name__)


def tell_not_loaded(
    state: State, project: str, version: int, error: TidemillError, live: Live | None
) -> None:
    """Raise the alert that `version` did not load. A database that is away must not be a second failure."""
    answers = f"model {live.scorer.version} still answers" if live else "no model answers"
    try:
        raise_alert(
            state,
            project,
            "service",
            _subject(version),
            f"Model {version} did not load; {answers}",
            "critical",
            {"model_version": version, "title": error.title, "detail": error.detail, "remedy": error.remedy},
        )
    except SQLAlchemyError as away:
        logger.warning("the alert could not be raised: %s", type(away).__name__)


def tell_loaded(state: State, project: str, version: int) -> None:
    """Resolve that alert, if there is one."""
    try:
        resolve(state, project, "service", _subject(version))
    except SQLAlchemyError as away:
        logger.warning("the alert could not be resolved: %s", type(away).__name__)


def withdraw_not_loaded(state: State, seen: Deployment, error: Exception) -> None:
    """Take back the canary of `seen`, which did not load here, unless the deployment changed meanwhile."""
    assert seen.challenger is not None
    version = seen.challenger.version
    why = error.title if isinstance(error, TidemillError) else type(error).__name__
    reason = f"the canary did not load: {why}"
    try:
        withdraw(
            state,
            seen.project,
            expected_revision=seen.revision,
            actor=POLICY,
            reason=reason,
            detail={"kind": "load", "error": why},
        )
        title = f"Canary {version} was withdrawn: {reason}"
        raise_alert(
            state, seen.project, "service", f"canary {version}", title, "critical", {"model_version": version}
        )
    except Conflict:
        return  # somebody changed the deployment first: what is wanted now is followed anew
    except SQLAlchemyError as away:
        logger.warning("the canary could not be withdrawn: %s", type(away).__name__)


def _subject(version: int) -> str:
    return f"loading model {version}"
