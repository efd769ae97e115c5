"""A store of MLflow that is made once: its many migrations take seconds."""

from pathlib import Path

import pytest

from resources.tracking import Tracking


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite store, to be copied to where a home has its own."""
    root = tmp_path_factory.mktemp("mlflow-store")
    with Tracking(root=str(root)).exclusive() as client:
        client.search_experiments()
    return root / "mlflow" / "mlflow.db"
