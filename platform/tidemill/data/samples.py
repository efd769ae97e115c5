"""Sample data for the demo, for notebooks and for trying things out.

The measurements are scikit-learn's own data sets. What a hospital's file has besides (patient numbers, which
scanner, dates, cells nobody filled in) is invented here from a fixed seed and carries no signal about the
target. Nothing here is read by the product itself.
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SEED = 20_240
HOLDOUT = 200
SCANNERS = ("Aperio AT2", "Hamamatsu S360", "Leica GT450")
FIRST_DAY = np.datetime64("2023-01-02")
MISSING_SHARE = 0.02
# Columns in which some cells are empty, as they are when a measurement could not be taken.
SOMETIMES_MISSING = ("mean_texture", "mean_symmetry", "worst_concavity")


def write_breast_cancer(folder: Path) -> list[Path]:
    """Write `hospital_a.csv` and `hospital_b.xlsx` into `folder`: 369 patients, target `diagnosis`.

    The other 200 patients of the data set are kept out for `breast_cancer_holdout`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    patients = _patients().iloc[:-HOLDOUT]
    half = len(patients) // 2
    csv, excel = folder / "hospital_a.csv", folder / "hospital_b.xlsx"
    patients.iloc[:half].to_csv(csv, index=False)
    _write_excel(patients.iloc[half:], excel)
    return [csv, excel]


def breast_cancer_holdout(n: int = HOLDOUT) -> list[tuple[dict[str, Any], str]]:
    """Up to 200 records that are in neither file, each with its true diagnosis."""
    held_out = _patients().iloc[-HOLDOUT:][:n]
    records = _records(held_out.drop(columns="diagnosis"))
    return list(zip(records, held_out["diagnosis"].astype(str), strict=True))


def shifted_batch(n: int = 200, seed: int = 0) -> list[dict[str, Any]]:
    """`n` records as a wrongly set up scanner would give them: areas and textures measured too large."""
    rng = np.random.default_rng(seed)
    patients = _patients().drop(columns="diagnosis")
    batch = patients.iloc[rng.integers(0, len(patients), n)].reset_index(drop=True)
    for name in batch.columns:
        if name.endswith(("_radius", "_texture", "_smoothness")):
            batch[name] = (batch[name] * rng.normal(1.25, 0.03, n)).round(4)
        if name.endswith("_area"):
            batch[name] = (batch[name] * rng.normal(1.25, 0.03, n) ** 2).round(2)
    batch["scanner"] = "Leica GT450"
    batch["patient_id"] = [f"S{seed:03d}-{number:05d}" for number in range(n)]
    return _records(batch)


def write_diabetes(folder: Path) -> list[Path]:
    """Write `diabetes.csv` (regression, target `progression`) into `folder`."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(as_frame=True, scaled=False)
    frame = data.frame.rename(columns={"target": "progression"})
    frame["sex"] = frame["sex"].map({1.0: "female", 2.0: "male"})
    frame["age"] = frame["age"].astype(int)
    frame["progression"] = frame["progression"].astype(int)
    return [_write(frame, folder / "diabetes.csv")]


def write_wine(folder: Path) -> list[Path]:
    """Write `wine.csv` (multiclass, target `cultivar`) into `folder`."""
    from sklearn.datasets import load_wine

    frame = load_wine(as_frame=True).frame
    frame["cultivar"] = frame.pop("target").map({0: "barolo", 1: "grignolino", 2: "barbera"})
    frame = frame.rename(columns={"od280/od315_of_diluted_wines": "od280_od315"})
    return [_write(frame.sample(frac=1.0, random_state=SEED), folder / "wine.csv")]


def _write(frame: pd.DataFrame, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(file, index=False)
    return file


def _write_excel(frame: pd.DataFrame, file: Path) -> None:
    """Write a workbook whose bytes are the same every time: a file sent twice must be known again."""
    fresh = io.BytesIO()
    frame.to_excel(fresh, index=False, sheet_name="Patients", engine="openpyxl")
    with zipfile.ZipFile(fresh) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "docProps/core.xml":
                content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"2024-09-01T00:00:00Z", content)
            entry = zipfile.ZipInfo(name)  # without a time given it is that of 1980
            entry.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(entry, content)


def _patients() -> pd.DataFrame:
    """All 569 patients in a fixed shuffled order."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    measured = data.data.rename(columns=_snake)
    rng = np.random.default_rng(SEED)
    count = len(measured)
    for name in SOMETIMES_MISSING:
        measured.loc[rng.random(count) < MISSING_SHARE, name] = np.nan
    days = FIRST_DAY + rng.integers(0, 600, count).astype("timedelta64[D]")
    patients = pd.DataFrame({"patient_id": [f"P{number:05d}" for number in range(1, count + 1)]})
    patients["examined_on"] = days.astype(str)
    patients["scanner"] = rng.choice(SCANNERS, count)
    patients = pd.concat([patients, measured], axis=1)
    patients["diagnosis"] = np.where(data.target == 0, "malignant", "benign")
    return patients.iloc[rng.permutation(count)].reset_index(drop=True)


def _snake(name: str) -> str:
    """`mean radius` -> `mean_radius`, `radius error` -> `error_radius`: the statistic comes first everywhere."""
    words = name.split()
    if words[-1] == "error":
        words = ["error", *words[:-1]]
    return "_".join(words)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain dictionaries that JSON can carry; empty cells are None."""
    rows = frame.astype(object).to_dict(orient="records")
    return [{str(name): None if pd.isna(value) else value for name, value in row.items()} for row in rows]
