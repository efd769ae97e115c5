"""Training on many rows, in a process of its own whose peak memory is what is asked.

python large.py ROWS COLUMNS FOLDER
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from tidemill.labels.suspects import CHECKED_ROWS, examine
from tidemill.learn.bundle import load_model, write_bundle
from tidemill.learn.evaluation import evaluate
from tidemill.learn.leakage import find_leakage
from tidemill.learn.quality import find_concerns
from tidemill.learn.studies import study
from tidemill.learn.training import THREADS, train
from tidemill.project import Column, Project


def main(rows: int, columns: int, folder: Path) -> None:
    rng = np.random.default_rng(0)
    kinds = {f"c{index}": "category" if index % 3 == 2 else "float" for index in range(columns)}
    table = {
        "_row": [f"r{index}" for index in range(rows)],
        "_split": np.where(rng.random(rows) < 0.25, "test", "train"),
    }
    signal = np.zeros(rows)
    for index, (name, kind) in enumerate(kinds.items()):
        if kind == "float":
            values = rng.normal(size=rows)
            table[name] = np.where(rng.random(rows) < 0.02, np.nan, values)
        else:
            values = rng.integers(0, 10, rows)
            table[name] = pd.Series(np.array([f"k{value}" for value in range(10)])[values], dtype="string")
            values = values % 3 - 1.0
        signal += values / (index + 1)
    table["_label"] = pd.Series(np.where(signal + rng.logistic(size=rows) > 0, "yes", "no"), dtype="string")
    features = pd.DataFrame(table)
    described = {name: Column(type=kind) for name, kind in kinds.items()}
    described["y"] = Column(type="category", role="target")
    project = Project(name="large", task="binary", columns=described, training={"trials": 1})
    began = time.perf_counter()
    found = train(features, project)
    trained = time.perf_counter()
    info = write_bundle(folder, project=project, training=found, reference=features)
    written = time.perf_counter()
    find_leakage(features, project)
    find_concerns(features, project)
    examine(features, features["_label"], project, most_rows=CHECKED_ROWS)
    checked = time.perf_counter()
    model = load_model(folder, info.version)
    with threadpool_limits(limits=THREADS):
        study(model, features, project, evaluate(model, features, project))
    print(
        json.dumps(
            {
                "seconds": trained - began,
                "bundle_seconds": written - trained,
                "checks_seconds": checked - written,
                "evaluation_seconds": time.perf_counter() - checked,
                "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
                "best": info.estimator,
                "cv": info.cv["mean"],
                "form": info.provenance["scorer"]["form"],
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
