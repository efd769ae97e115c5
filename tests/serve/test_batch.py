import csv
import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tidemill.errors import InvalidInput, TidemillError
from tidemill.home import Home
from tidemill.project import Project
from tidemill.serve.batch import Scored, score_file
from tidemill.serve.batch_jobs import state_of
from tidemill.serve.record import RecordContract
from tidemill.serve.scorer import Score, Scorer
from tidemill.serve.service import Live
from tidemill.store.durable import replace_json

TEXT = """\
name: pets
task: regression
columns:
  pet_id: {type: string, role: id}
  weight: {type: float, nulls: false}
  seen: {type: datetime}
  age: {type: float, role: target}
"""


class Twice(Scorer):
    """Answers with twice the weight."""

    version = 7
    classes = None

    def score(self, records: Sequence[Mapping[str, Any]]) -> list[Score]:
        return [Score(2 * record["weight"], None, None) for record in records]


class Broken(Twice):
    def score(self, records: Sequence[Mapping[str, Any]]) -> list[Score]:
        raise TidemillError(f"no answer for {len(records)}")


def live(scorer: Scorer | None = None, serving: str = "{}") -> Live:
    project = Project.parse(f"{TEXT}serving: {serving}\n", Path("pets/project.yaml"))
    return Live(scorer or Twice(), RecordContract(project), project, 0, 0)


def test_rows_in_are_rows_out_in_their_order(tmp_path: Path) -> None:
    lines = ["pet_id,weight,seen"]
    for n in range(25_000):
        lines.append("too,many,cells,here" if n % 1000 == 5 else f"p{n},{n / 4},2020-01-01 10:00")
    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    seen: list[Scored] = []
    done = score_file(live(), file, tmp_path / "out.csv", on_progress=seen.append)
    assert done == Scored(25_000, 25)
    assert seen[-1] == done
    assert len(seen) > 4
    with (tmp_path / "out.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["_line"]) for row in rows] == list(range(2, 25_002))
    good = [row for row in rows if not row["_error"]]
    assert len(good) == 24_975
    assert all(float(row["_prediction"]) == 2 * float(row["weight"]) for row in good)
    assert rows[5]["_error"]
    assert not rows[5]["_prediction"]


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("pet_id,weight,seen\np1,1,\n")
    (tmp_path / "out.csv").write_text("the one before")
    with pytest.raises(TidemillError, match="no answer"):
        score_file(live(Broken()), file, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "the one before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.csv", "out.csv"]


def test_rows_obey_the_projects_policies(tmp_path: Path) -> None:
    class Counts(Twice):
        def score(self, records: Sequence[Mapping[str, Any]]) -> list[Score]:
            return [
                Score(sum(value is not None for value in record.values()), None, None) for record in records
            ]

    file = tmp_path / "a.csv"
    file.write_text("pet_id,weight,remark\np1,1,x\np2,,y\np3,heavy,z\n")
    with pytest.raises(InvalidInput, match="lacks columns"):
        score_file(live(), file, tmp_path / "out.csv")
    made = live(Counts(), "{missing_fields: impute, extra_fields: reject}")
    assert score_file(made, file, tmp_path / "out.csv") == Scored(3, 1)
    with (tmp_path / "out.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["_prediction"], row["_flags"]) for row in rows] == [
        ("1", "missing_field:seen:imputed"),
        ("0", "missing_field:weight:imputed missing_field:seen:imputed"),
        ("", ""),
    ]
    assert rows[2]["_error"] == "weight: 'heavy' is not a number"


def test_another_kind_of_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not a kind of file"):
        score_file(live(), tmp_path / "a.csv", tmp_path / "out.xlsx")


def test_a_job_whose_process_is_gone_has_failed(home: Home) -> None:
    folder = home.store("pets") / "batch" / ("0" * 32)
    folder.mkdir(parents=True)
    replace_json(
        folder / "job.json",
        {"id": "0" * 32, "name": "a.csv", "format": "csv", "log": False, "created_at": ""},
    )
    status = {"status": "running", "pid": 2**22 - 1, "pid_started": 1.0, "rows": 5, "errors": 0}
    replace_json(folder / "status.json", status | {"model_version": 1, "problem": None, "ended_at": None})
    found = state_of(home, "pets", "0" * 32)
    assert (found["status"], found["rows"], found["problem"]["remedy"]) == ("failed", 5, "Send it again.")
