"""MLflow's tracking server on a unix socket: `python -m resources.mlflow_server HOME`, run by the supervisor.

One process. `mlflow server` would keep a second one that only waits, and listen on a port that any user of the
machine can reach. What it is told by its environment is what `mlflow server` tells its own workers.
"""

from __future__ import annotations

import os
import sys

from resources.tracking import Tracking
from tidemill.home import Home
from tidemill.ops.mlflow_page import PREFIX, listen

_BACKEND = "_MLFLOW_SERVER_FILE_STORE"
_ARTIFACTS = "_MLFLOW_SERVER_ARTIFACT_ROOT"
_STATIC_PREFIX = "_MLFLOW_STATIC_PREFIX"


def main(root: str) -> None:
    """Serve the store of the home at `root` until SIGTERM."""
    home = Home.find(root)
    tracking = Tracking(root=str(home.root))
    # MLflow reads these as it is imported.
    os.environ |= {
        _BACKEND: tracking.uri,
        _ARTIFACTS: (home.mlflow / "artifacts").as_uri(),
        _STATIC_PREFIX: PREFIX,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "localhost",
    }
    with tracking.exclusive() as client:
        client.search_experiments(max_results=1)  # makes or migrates the store, one process at a time
    _check_names()
    import uvicorn

    config = uvicorn.Config("mlflow.server.fastapi_app:app", log_level="warning", timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[listen(home)])


def _check_names() -> None:
    """MLflow's names for what it is told are not promised: another version must not quietly open another store."""
    from mlflow.server import constants, handlers

    found = (
        constants.BACKEND_STORE_URI_ENV_VAR,
        constants.ARTIFACT_ROOT_ENV_VAR,
        handlers.STATIC_PREFIX_ENV_VAR,
    )
    if found != (_BACKEND, _ARTIFACTS, _STATIC_PREFIX):
        raise RuntimeError(f"this version of MLflow is told where its store is by other names: {found}")


if __name__ == "__main__":
    main(sys.argv[1])
