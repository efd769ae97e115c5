"""Which role a route needs: one table for all, looked up by the route that was found, not by the path as sent.

Whoever may look at a project may read all of it. What is not named here and changes something needs an admin, so a
route that somebody forgets to name is closed, not open.
"""

from __future__ import annotations

from tidemill.ops.access import Role

READING = frozenset({"GET", "HEAD", "OPTIONS"})

_PROJECT = "/v1/projects/{project}"

NEEDED = {
    ("GET", "/v1/audit"): Role.ADMIN,
    # MLflow's pages: what may be noted there, and that they show every project, is held by `mlflow_pages.py`.
    ("POST", "/v1/mlflow/link"): Role.VIEWER,
    # Asking the model changes nothing but the log of what was asked.
    ("POST", f"{_PROJECT}/predictions"): Role.VIEWER,
    ("POST", f"{_PROJECT}/batch-predictions"): Role.VIEWER,
    ("POST", f"{_PROJECT}/ground-truth"): Role.LABELER,
    ("POST", f"{_PROJECT}/labels/answers"): Role.LABELER,
    ("POST", f"{_PROJECT}/labels/undo"): Role.LABELER,
    ("POST", f"{_PROJECT}/label-studio/link"): Role.LABELER,
    ("POST", f"{_PROJECT}/labels/rounds"): Role.TRAINER,
    ("POST", f"{_PROJECT}/files"): Role.TRAINER,
    ("POST", f"{_PROJECT}/records"): Role.TRAINER,
    ("POST", f"{_PROJECT}/uploads"): Role.TRAINER,
    ("PATCH", f"{_PROJECT}/uploads/{{upload}}"): Role.TRAINER,
    ("DELETE", f"{_PROJECT}/uploads/{{upload}}"): Role.TRAINER,
    ("POST", f"{_PROJECT}/trainings"): Role.TRAINER,
    ("POST", f"{_PROJECT}/trainings/{{run}}/cancel"): Role.TRAINER,
    ("POST", f"{_PROJECT}/trainings/{{run}}/retry"): Role.TRAINER,
    ("POST", f"{_PROJECT}/models/imports"): Role.TRAINER,
    ("POST", f"{_PROJECT}/drift"): Role.TRAINER,
    ("POST", f"{_PROJECT}/alerts/{{alert}}/acknowledge"): Role.TRAINER,
    ("POST", f"{_PROJECT}/models/{{version}}/deploy"): Role.PROMOTER,
    ("POST", f"{_PROJECT}/models/{{version}}/shadow"): Role.PROMOTER,
    ("POST", f"{_PROJECT}/models/{{version}}/canary"): Role.PROMOTER,
    ("POST", f"{_PROJECT}/rollback"): Role.PROMOTER,
    ("POST", f"{_PROJECT}/deployment/pause"): Role.PROMOTER,
    ("POST", f"{_PROJECT}/deployment/resume"): Role.PROMOTER,
    ("POST", f"{_PROJECT}/deployment/withdraw"): Role.PROMOTER,
}


def needed(method: str, route: str) -> Role:
    """The role for `method` on the route with the template `route`."""
    return NEEDED.get((method, route), Role.VIEWER if method in READING else Role.ADMIN)
