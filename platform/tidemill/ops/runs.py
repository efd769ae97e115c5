"""Runs of the jobs: start one, ask for one, list them; whoever carries them out.

The interface and its words. How Dagster is asked is `ops/dagster_runs.py`; what the jobs do is in `assets/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from tidemill.errors import InvalidInput

Job = Literal["ingest", "labels", "training", "monitoring", "loop", "imports"]
Status = Literal["queued", "running", "succeeded", "failed", "canceled"]
StepStatus = Literal["running", "succeeded", "failed", "skipped"]

JOBS: tuple[str, ...] = get_args(Job)
FINISHED: frozenset[str] = frozenset({"succeeded", "failed", "canceled"})

TAG_PROJECT, TAG_JOB, TAG_ACTOR = "tidemill/project", "tidemill/job", "tidemill/actor"
TAG_REASON = "tidemill/reason"
# What started a run, the run it is another try of, and the request that asked for it.
TAG_TRIGGER, TAG_RETRY_OF, TAG_REQUEST = "tidemill/trigger", "tidemill/retry_of", "tidemill/request"
# On every run that trains, whoever starts it: Dagster's queue lets so many of one value through.
TAG_TRAINS = "tidemill/trains"
TRAINS: frozenset[str] = frozenset({"training", "loop"})

Trigger = Literal[
    "api",
    "command-line",
    "dashboard",
    "dagster",
    "schedule",
    "new-data",
    "new-labels",
    "drift",
    "retry",
    "git-push",
]


@dataclass(frozen=True)
class Step:
    """One step of a run; times are ISO 8601 in UTC."""

    name: str
    status: StepStatus
    started_at: str | None
    ended_at: str | None


@dataclass(frozen=True)
class Run:
    """One run of a job. `error` is one or a few lines for a person, of a run that failed.

    `planned` is how many steps it will have taken, where that is known; `is_ending` says that it was told to end.
    """

    id: str
    project: str
    job: str
    status: Status
    created_at: str | None
    started_at: str | None
    ended_at: str | None
    steps: list[Step] = field(default_factory=list)
    error: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    planned: int | None = None
    is_ending: bool = False

    @property
    def trigger(self) -> str:
        """What started it, a `Trigger`. A run that we did not tag was started in Dagster's own screens."""
        return self.tags.get(TAG_TRIGGER) or ("api" if TAG_ACTOR in self.tags else "dagster")

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED


class RunClient(ABC):
    """Whoever runs jobs."""

    @abstractmethod
    def launch(self, project: str, job: str, tags: Mapping[str, str] | None = None) -> str:
        """Start a run and return its id at once. Raises NotReady when nothing can run it now."""

    @abstractmethod
    def get(self, run_id: str) -> Run | None:
        """One run with its steps, or None."""

    @abstractmethod
    def list(self, project: str, job: str | None = None, limit: int = 20) -> Sequence[Run]:
        """The newest runs of a project (of one job), newest first."""

    @abstractmethod
    def under_way(self) -> Sequence[Run]:
        """The runs of every project that are carried out now, without those that wait for their turn."""

    @abstractmethod
    def cancel(self, run_id: str) -> bool:
        """Have a run ended that waits or goes on; False when it has ended already. It ends within about 15 s."""

    @abstractmethod
    def url(self, run_id: str) -> str | None:
        """Where a person can watch the run, if anywhere."""

    @abstractmethod
    def is_reachable(self) -> bool:
        """Whether the runner answers now, within about a second."""

    def close(self) -> None:  # noqa: B027 - an optional hook: most runners hold nothing
        """Let go of connections."""


def job_name(project: str, job: str) -> str:
    """The name of a project's job in Dagster."""
    if job not in JOBS:
        raise InvalidInput(
            "There is no such job", detail=repr(job), remedy=f"The jobs are {', '.join(JOBS)}."
        )
    # Dagster calls the step of the asset `labels` <project>__labels, and refuses a second thing of that name.
    return f"{project}__{'labelling' if job == 'labels' else job}"
