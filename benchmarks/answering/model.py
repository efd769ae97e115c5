"""One project of 12 mixed fields, with a bundle of each estimator, for serving to be measured on."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from tidemill.home import Home
from tidemill.labels.column import labels_from_column
from tidemill.learn.bundle import write_bundle
from tidemill.learn.features import build_features
from tidemill.learn.learnable import truth_of
from tidemill.learn.pipeline import make_pipeline
from tidemill.learn.training import Training, train
from tidemill.project import Project

NAME = "bench"
ROWS = 4000
# The version of each, in the order they are written.
ESTIMATORS: dict[str, dict[str, Any]] = {
    "linear": {},
    "hist_gradient_boosting": {},
    "random_forest": {"n_estimators": 200, "max_features": "sqrt"},
}
PROJECT = """\
name: bench
task: binary
columns:
  age: {type: integer}
  visits: {type: integer}
  income: {type: float}
  balance: {type: float}
  rate: {type: float}
  distance: {type: float}
  score: {type: float}
  member: {type: boolean}
  plan: {type: category, values: [basic, plus, pro]}
  region: {type: category, values: [north, south, east, west]}
  device: {type: string}
  since: {type: date}
  left: {type: category, role: target, values: ["no", "yes"]}
labels: {positive: "yes"}
training: {candidates: [linear], trials: 1, folds: 2}
"""


def make(home: Home) -> list[dict[str, Any]]:
    """Write the project and its bundles into `home`; records to ask with, the first complete."""
    file = home.project_file(NAME)
    file.parent.mkdir(parents=True)
    file.write_text(PROJECT)
    project = Project.load(file)
    raw = table()
    features = build_features(raw, labels_from_column(raw, project, 1), project)
    base = train(features, project)
    rows = features[features["_split"] == "train"]
    for estimator, params in ESTIMATORS.items():
        pipeline = make_pipeline(project, estimator, params)
        pipeline.fit(rows[list(project.feature_columns)], truth_of(rows, project))
        joblib.dump(pipeline, pipeline_file(home, estimator))
        write_bundle(
            home.models(NAME), project=project, training=_with(base, estimator, params, pipeline),
            reference=features, contract=PROJECT,
        )  # fmt: skip
    return _records(raw, project)


def pipeline_file(home: Home, estimator: str) -> Path:
    """Where the fitted pipeline lies for the peers in environments of their own."""
    return home.root / f"{estimator}.joblib"


def _with(base: Training, estimator: str, params: dict[str, Any], pipeline: Any) -> Training:
    best = dataclasses.replace(base.best, estimator=estimator, params=params, pipeline=pipeline)
    return dataclasses.replace(base, best=best, candidates=[best])


def table() -> pd.DataFrame:
    """Rows whose target depends on several columns, with a twentieth of two columns missing."""
    random = np.random.default_rng(20)
    income, balance = random.lognormal(10, 0.6, ROWS), random.normal(0, 400, ROWS)
    rate, visits = random.random(ROWS), random.poisson(4, ROWS)
    plan = random.choice(["basic", "plus", "pro"], ROWS)
    pull = 2 * rate - visits / 4 + (plan == "basic") - balance / 500 + random.normal(0, 0.7, ROWS)
    gap = random.random((2, ROWS)) < 0.05
    return pd.DataFrame(
        {
            "_row": [f"r{index}" for index in range(ROWS)],
            "age": random.integers(18, 90, ROWS),
            "visits": visits,
            "income": np.where(gap[0], np.nan, income),
            "balance": balance,
            "rate": np.where(gap[1], np.nan, rate),
            "distance": random.exponential(20, ROWS),
            "score": random.normal(0, 1, ROWS),
            "member": random.random(ROWS) < 0.5,
            "plan": plan,
            "region": random.choice(["north", "south", "east", "west"], ROWS),
            "device": random.choice(["phone", "tablet", "desk", "watch"], ROWS),
            "since": [
                pd.Timestamp("2015-01-01").date() + pd.Timedelta(days=int(day)).to_pytimedelta()
                for day in random.integers(0, 4000, ROWS)
            ],
            "left": np.where(pull > 0, "yes", "no"),
        }
    )


def _records(raw: pd.DataFrame, project: Project) -> list[dict[str, Any]]:
    from tidemill.learn.proof import records_of

    found = [
        {name: value.isoformat() if name == "since" else value for name, value in record.items()}
        for record in records_of(raw, project)
    ]
    found.sort(key=lambda record: None in record.values())
    return found[:150] + found[-50:]
