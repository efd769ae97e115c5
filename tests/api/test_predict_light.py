"""What the API's process holds after it has predicted: nothing of pandas or scikit-learn."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tidemill.home import CHECKOUT, Home

from .conftest import add_project

SERVED = """
import sys
from pathlib import Path
import asyncio
import httpx
from api.app import create_app
from tidemill.home import Home
from tidemill.serve.deployment import deploy
from tidemill.settings import Settings

home = Home.find(Path(sys.argv[1]))
app = create_app(home, Settings())
deploy(app.state.context.state, "pets", 1, actor="test", reason="a test")
key = (home.secrets / "owner.key").read_text().strip()

async def ask():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        record = {"kind": "cat", "weight": 4.5, "age": 3, "chipped": True, "born": "2020-01-01"}
        for body in (record, {"records": [record] * 5}):
            found = await client.post(
                "/v1/projects/pets/predictions", json=body, headers={"Authorization": f"Bearer {key}"}
            )
            assert found.status_code == 200, found.text

asyncio.run(ask())
heavy = {"pandas", "sklearn", "scipy", "joblib", "skops", "mlflow", "pyarrow", "duckdb"}
print("heavy:", *sorted(heavy & set(sys.modules)))
"""


def test_a_prediction_loads_nothing_heavy(home: Home, models: Path) -> None:
    assert (models / "1" / "scorer.npz").is_file()
    add_project(home)
    done = subprocess.run(
        [sys.executable, "-c", SERVED, str(home.root)], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy:"


def test_a_bundle_without_a_compiled_scorer_answers_the_same(home: Home, models: Path) -> None:
    from tidemill.project import Project
    from tidemill.serve.compiled import CompiledScorer
    from tidemill.serve.record import RecordContract
    from tidemill.serve.scorer import SklearnScorer, open_scorer

    project = Project.load(add_project(home))
    records = [{"kind": "dog", "weight": weight} for weight in (1, 9.9, 10.1, 50)]
    checked = [record.values for record in RecordContract(project).check_all(records)]
    compiled = open_scorer(models, 1, project)
    assert isinstance(compiled, CompiledScorer)
    without_scorer(models / "1")
    plain = open_scorer(models, 1, project)
    assert isinstance(plain, SklearnScorer)
    for one, other in zip(compiled.score(checked), plain.score(checked), strict=True):
        assert one.label == other.label
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-12)


def without_scorer(folder: Path) -> None:
    """As bundles were before there were compiled scorers."""
    file = folder / "bundle.json"
    document = json.loads(file.read_text())
    del document["files"]["scorer.npz"], document["provenance"]["scorer"]
    file.write_text(json.dumps(document))
    (folder / "scorer.npz").unlink()
