"""The errors Tidemill raises on purpose.

    TidemillError
    ├── InvalidInput        422   what was sent is wrong; sending it again changes nothing
    │   ├── ProjectFileError      a project.yaml, with line and field
    │   └── ContractViolation     a file or record that breaks a project's contract
    │       └── ContractChanged  409   a file with other columns or types than the contract's
    ├── Unauthorized        401   no key, or a key nobody knows
    ├── NotFound            404   there is no such object
    ├── Conflict            409   the object changed, or the state does not allow it
    │   └── NotExplainable        the model that answers has no explanations; another one may
    ├── Gone                410   it was there, and does not come back
    ├── TooLarge            413   over a limit on size
    ├── NotReady            503   a part is missing or still starting; trying again later can help
    │   └── SourceAway            a share, server or store that does not answer, or broke off
    ├── StorageFull         507   the disk took no more
    └── Corrupt             500   what lies on disk is not what was written

Each carries what was wrong (`title`), with which object (`detail`), what to do (`remedy`) and whether trying
again can help (`retryable`). Errors of other libraries are translated where they arise, or left alone: nothing
here wraps an unknown failure into a known one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


class TidemillError(Exception):
    """Something Tidemill understood to be wrong.

    `title` is one short sentence, `detail` names the object, `remedy` says the way out. `extra` holds
    machine-readable members for the API's problem document and must never hold secrets.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, title: str, *, detail: str = "", remedy: str = "", **extra: Any) -> None:
        super().__init__(title)
        self.title = title
        self.detail = detail
        self.remedy = remedy
        self.extra = extra

    def __str__(self) -> str:
        parts = [self.title]
        if self.detail:
            parts.append(self.detail)
        if self.remedy:
            parts.append(f"What to do: {self.remedy}")
        return "\n".join(parts)


class InvalidInput(TidemillError):
    status = 422
    slug = "invalid-input"


@dataclass(frozen=True)
class FieldProblem:
    """One fault in a project file: `line` counts from 1, `field` is a dotted path such as `columns.age.min`."""

    line: int
    field: str
    found: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}, {self.field}: {self.message} (found {self.found})"


class ProjectFileError(InvalidInput):
    """A project.yaml that cannot be used; `problems` lists every fault found, in the file's order."""

    slug = "invalid-project-file"

    def __init__(self, file: str, problems: Sequence[FieldProblem], *, remedy: str = "") -> None:
        super().__init__(
            f"{file} cannot be used",
            detail="\n".join(str(problem) for problem in problems),
            remedy=remedy or "Mend the lines named above; docs/project.schema.json lists what is allowed.",
            problems=[problem.__dict__ for problem in problems],
        )
        self.file = file
        self.problems = list(problems)


class ContractViolation(InvalidInput):
    slug = "contract-violation"


class ContractChanged(ContractViolation):
    """A file whose columns are new, missing or of another type; `extra["diff"]` says which."""

    status = 409
    slug = "contract-changed"


class Unauthorized(TidemillError):
    status = 401
    slug = "unauthorized"


class Forbidden(TidemillError):
    status = 403
    slug = "forbidden"


class TooManyRequests(TidemillError):
    """`seconds`: when the next one will be taken."""

    status = 429
    slug = "too-many-requests"
    retryable = True


class NotFound(TidemillError):
    status = 404
    slug = "not-found"


class Conflict(TidemillError):
    status = 409
    slug = "conflict"


class NotExplainable(Conflict):
    slug = "not-explainable"


class Gone(TidemillError):
    status = 410
    slug = "gone"


class TooLarge(TidemillError):
    status = 413
    slug = "too-large"


class NotReady(TidemillError):
    status = 503
    slug = "not-ready"
    retryable = True


class SourceAway(NotReady):
    slug = "source-away"


class StorageFull(TidemillError):
    status = 507
    slug = "storage-full"
    retryable = True


class Corrupt(TidemillError):
    slug = "corrupt"
