"""Small trained models that several test modules look at; each is trained once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from tidemill.labels.column import labels_from_column
from tidemill.learn.bundle import write_bundle
from tidemill.learn.bundle_info import BundleInfo
from tidemill.learn.evaluation import Evaluation, evaluate
from tidemill.learn.features import build_features
from tidemill.learn.training import Training, train
from tidemill.project import Column, Project

QUICK = {"trials": 2, "folds": 2}


@dataclass(frozen=True)
class Trained:
    project: Project
    features: pd.DataFrame
    training: Training
    evaluation: Evaluation


def features_of(raw: pd.DataFrame, project: Project) -> pd.DataFrame:
    return build_features(raw, labels_from_column(raw, project, 1), project)


def trained(name: str, task: str, table: pd.DataFrame, target: Column, **training: object) -> Trained:
    columns = {column: Column(type="float") for column in table.columns if column != "y"} | {"y": target}
    project = Project(name=name, task=task, columns=columns, training={**QUICK, **training})
    features = features_of(table.assign(_row=[f"r{index}" for index in range(len(table))]), project)
    done = train(features, project)
    return Trained(
        project, features, done, evaluate(done.best.pipeline, features, project, baseline=done.baseline)
    )


def publish(folder: Path, trained: Trained, **extra: Any) -> BundleInfo:
    """The model as the next bundle in `folder`."""
    provenance = {"dataset": "raw@1", "run_id": "r1"}
    return write_bundle(
        folder, project=trained.project, training=trained.training, provenance=provenance, **extra
    )


def target(kind: str) -> Column:
    return Column(type=kind, role="target")


@pytest.fixture(scope="session")
def binary() -> Trained:
    data = load_breast_cancer(as_frame=True)
    table = data.data.iloc[:, :8].assign(y=np.where(data.target == 1, "benign", "malignant"))
    return trained("cancer", "binary", table, target("category"))


@pytest.fixture(scope="session")
def multiclass() -> Trained:
    data = load_wine(as_frame=True)
    table = data.data.iloc[:, :6].assign(y=data.target)
    return trained("wine", "multiclass", table, target("integer"), candidates=["random_forest"])


@pytest.fixture(scope="session")
def regression() -> Trained:
    data = load_diabetes(as_frame=True)
    table = data.data.assign(y=data.target)
    return trained(
        "diabetes", "regression", table, target("float"), candidates=["linear", "hist_gradient_boosting"]
    )
