"""Champion and challenger where truth has come: their losses on the same records, from the whole log.

Here belongs the question to the log. What follows from the answer is `serve/policy.py`.
"""

from __future__ import annotations

from tidemill.home import Home
from tidemill.project import Project
from tidemill.serve.deployment import Challenger
from tidemill.serve.paired_truths import MOST_PAIRS, Losses


def losses_of_pairs(home: Home, project: Project, champion: int, challenger: Challenger) -> dict[str, Losses]:
    """Losses of both on the records that were answered since the challenger's stage began, by one of the two, where
    the other was asked besides and truth is known. The loss is 1 for a wrong label, the absolute error of a number.
    """
    from tidemill.store.sql import connect  # DuckDB is not needed before the first truth

    answered, beside, role = champion, challenger.version, "champion"
    if challenger.stage == "canary":
        answered, beside, role = challenger.version, champion, "canary"
    loss = (
        "(CASE WHEN {0} = o.truth THEN 0e0 ELSE 1e0 END)"
        if project.is_classification
        else "abs({0} - o.truth)"
    )
    query = (
        f"SELECT o.id, {loss.format('o.predicted')}, {loss.format('c.label')} "
        "FROM outcomes o JOIN challenger c ON c.prediction_id = o.id "
        "WHERE o.role = ? AND o.model_version = ? AND c.role = 'shadow' AND c.model_version = ? "
        "AND c.label IS NOT NULL AND o.truth IS NOT NULL "
        "AND o.logged_at >= CAST(? AS TIMESTAMPTZ) AT TIME ZONE 'UTC' "
        f"ORDER BY o.logged_at DESC LIMIT {MOST_PAIRS}"
    )
    with connect(home, project.name, project=project, memory="256MB") as con:
        rows = con.execute(query, [role, answered, beside, challenger.since_at]).fetchall()
    if challenger.stage == "canary":
        return {prediction: (other, one) for prediction, one, other in rows}
    return {prediction: (one, other) for prediction, one, other in rows}
