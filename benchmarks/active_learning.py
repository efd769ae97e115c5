"""How many labels it takes to be nearly as good as with all of them: our choice of rows against chance.

Each data set is split into a pool of rows that can be asked about and held-out rows. A round asks about a few
rows, the model is fitted on all that were asked about so far, and its quality is measured on the held-out rows.
Quality is what the metric (balanced accuracy, or R2 for numbers) gains over a model that ignores the features. The
labels that a way of choosing needs are those with which it first reaches 95 % of the quality that the whole pool
gives, the curve smoothed over three rounds. Both ways have the same rows, model and rounds; the choice differs.

    ./tidemill bench active_learning.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn.datasets
from documents import write_document
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, r2_score

from tidemill.home import CHECKOUT
from tidemill.labels.learner import Learner
from tidemill.labels.selection import choose
from tidemill.project import Column, Project

DATA = CHECKOUT.parent / "shared" / "data"
REACHED = 0.95
# Labels after each round: rounds grow with what is there, as nobody trains anew for a hundredth more.
SCHEDULE = (
    10, 15, 20, 25, 30, 40, 50, 60, 75, 90, 110, 130, 160, 200, 250, 300, 380, 470, 580, 700, 850, 1050, 1300,
)  # fmt: skip
QUICK_SCHEDULE = SCHEDULE[:13]
QUICK_SEEDS = 4
QUICK_SETS = ("breast_cancer", "diabetes", "wine_type")
# Who never gets there within the schedule is taken to need a quarter more than its end.
NEVER = 1.25
TREES = 40
MOST_POOL = 2_000
MOST_TEST = 2_000
DRAWS = 2_000


@dataclass(frozen=True)
class Set:
    """A data set as a project: features and labels, text for classes."""

    name: str
    rows: pd.DataFrame
    labels: NDArray[Any]
    project: Project


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="three data sets, four splits each, up to 160 labels"
    )
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--seeds", type=int, default=8, help="splits of each data set")
    parser.add_argument("--only", nargs="*", help="names of data sets")
    options = parser.parse_args()
    seeds = QUICK_SEEDS if options.quick else options.seeds
    schedule = QUICK_SCHEDULE if options.quick else SCHEDULE
    wanted = options.only or (QUICK_SETS if options.quick else None)
    rows = []
    for found in sets():
        if wanted and found.name not in wanted:
            continue
        began = time.perf_counter()
        rows.append(compare(found, seeds, schedule))
        print(line(rows[-1]) + f"   {time.perf_counter() - began:.0f} s", flush=True)
    report(rows, seeds, options.json)
    return 0


def sets() -> Iterator[Set]:
    """The data sets, smallest first; those of the folder beside the checkout where it is there."""
    for name, loader in (
        ("breast_cancer", sklearn.datasets.load_breast_cancer),
        ("digits", sklearn.datasets.load_digits),
    ):
        bunch = loader(as_frame=True)
        frame = bunch.data.rename(columns=lambda name: str(name).replace(" ", "_"))
        yield as_set(name, frame, bunch.target.astype(str))
    bunch = sklearn.datasets.load_diabetes(as_frame=True)
    yield as_set("diabetes", bunch.data, bunch.target.astype(float))
    if not DATA.is_dir():
        print(f"{DATA} is not there: only scikit-learn's own data sets", file=sys.stderr)
        return
    telescope = pd.read_csv(DATA / "pycaret_telescope.csv")
    yield as_set("telescope", telescope.drop(columns="Class"), telescope["Class"])
    spam = pd.read_csv(DATA / "pycaret_smsspam.tsv", sep="\t", quoting=3).dropna()
    yield as_set("sms_spam", spam[["message"]], spam["label"])
    telco = pd.read_csv(DATA / "telco_churn.csv")
    telco["TotalCharges"] = pd.to_numeric(telco["TotalCharges"], errors="coerce")
    yield as_set("telco_churn", telco.drop(columns=["customerID", "Churn"]), telco["Churn"])
    bank = pd.read_csv(DATA / "pycaret_bank.csv")
    yield as_set("bank", bank.drop(columns="deposit"), bank["deposit"])
    wine = pd.read_csv(DATA / "pycaret_wine.csv")
    yield as_set("wine_type", wine.drop(columns=["type"]), wine["type"])
    housing = pd.read_csv(DATA / "nannyml_california_housing_reference.csv")
    own = ["id", "timestamp", "clf_target", "y_pred_proba", "y_pred"]
    yield as_set("housing", housing.drop(columns=own), housing["clf_target"].astype(str))
    insurance = pd.read_csv(DATA / "pycaret_insurance.csv")
    yield as_set("insurance", insurance.drop(columns="charges"), insurance["charges"])
    bike = pd.read_csv(DATA / "pycaret_bike.csv")
    yield as_set("bike", bike.drop(columns=["instant", "dteday", "cnt"]), bike["cnt"].astype(float))


def as_set(name: str, rows: pd.DataFrame, labels: pd.Series[Any]) -> Set:
    rows = rows.reset_index(drop=True)
    number = labels.dtype.kind == "f"
    texts = len(rows.columns) == 1
    columns = {
        str(column): Column(
            type="float" if rows[column].dtype.kind in "if" else "text" if texts else "category"
        )
        for column in rows.columns
    }
    classes = labels.nunique()
    task = (
        "regression"
        if number
        else "text_classification"
        if texts
        else "binary"
        if classes == 2
        else "multiclass"
    )
    target = Column(type="float" if number else "category", role="target")
    settings = {"name": name, "task": task, "columns": {**columns, "target_": target}}
    return Set(name, rows, labels.to_numpy(), Project.model_validate(settings))


def compare(found: Set, seeds: int, schedule: Sequence[int]) -> dict[str, Any]:
    """Labels needed by both ways on one data set, for each seed."""
    ours, chance, full = [], [], []
    for seed in range(seeds):
        pool, test = halves(len(found.rows), seed)
        whole = score(found, fitted(found, list(pool), seed), test)
        full.append(whole)
        ours.append(needed(curve(found, seed, pool, test, schedule, uncertain), whole))
        chance.append(needed(curve(found, seed, pool, test, schedule, at_random), whole))
    return {"set": found.name, "ours": ours, "random": chance, "full": full, "most": schedule[-1]}


def halves(count: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    order = np.random.default_rng(seed).permutation(count)
    test = order[: min(count // 3, MOST_TEST)]
    return order[len(test) :][:MOST_POOL], test


Choice = Callable[[Set, Learner | None, NDArray[Any], NDArray[Any], int, int], list[int]]


def uncertain(
    found: Set, learner: Learner | None, pool: NDArray[Any], left: NDArray[Any], budget: int, seed: int
) -> list[int]:
    """The product's own choice among the rows `left` of the pool."""
    space = space_of(found, pool)[np.isin(pool, left)]
    doubt = learner.uncertainty(found.rows.iloc[left]) if learner else None
    return [int(left[index]) for index in choose(space, doubt, budget, seed)]


def at_random(
    found: Set,  # noqa: ARG001
    learner: Learner | None,  # noqa: ARG001
    pool: NDArray[Any],  # noqa: ARG001
    left: NDArray[Any],
    budget: int,
    seed: int,
) -> list[int]:
    return [int(row) for row in np.random.default_rng(seed).permutation(left)[:budget]]


_SPACES: dict[tuple[str, bytes], NDArray[Any]] = {}


def space_of(found: Set, pool: NDArray[Any]) -> NDArray[Any]:
    """The pool as points: made once, as it does not depend on labels."""
    key = (found.name, pool.tobytes())
    if key not in _SPACES:
        _SPACES.clear()
        _SPACES[key] = Learner.space(found.project, found.rows.iloc[pool], 0)
    return _SPACES[key]


def curve(
    found: Set, seed: int, pool: NDArray[Any], test: NDArray[Any], schedule: Sequence[int], way: Choice
) -> list[tuple[int, float]]:
    """Labels and quality after each round."""
    asked: list[int] = []
    learner: Learner | None = None
    points = []
    for number, count in enumerate(schedule):
        left = pool[~np.isin(pool, asked)]
        if len(left) < count - len(asked):
            break
        asked = asked + way(found, learner, pool, left, count - len(asked), 1_000 * seed + number)
        learner = fitted(found, asked, seed)
        points.append((count, score(found, learner, test)))
    return points


def fitted(found: Set, asked: list[int], seed: int) -> Learner | None:
    labels = found.labels[asked]
    if found.project.is_classification and len(set(labels)) < 2:
        return None
    return Learner.fit(found.project, found.rows.iloc[asked], labels, seed, trees=TREES)


def score(found: Set, learner: Learner | None, test: NDArray[Any]) -> float:
    """What the metric gains over a model that ignores the features; 1 is perfect."""
    if learner is None:
        return 0.0
    truth, said = found.labels[test], learner.model.predict(found.rows.iloc[test])
    if not found.project.is_classification:
        return float(r2_score(truth.astype(float), said))
    return float(balanced_accuracy_score(truth, said, adjusted=True))


def needed(points: list[tuple[int, float]], whole: float) -> float:
    """Labels with which the smoothed curve first reaches its mark; infinite when it never does."""
    values = [value for _, value in points]
    for index, (count, _) in enumerate(points):
        if np.mean(values[max(0, index - 2) : index + 1]) >= REACHED * whole:
            return count
    return float("inf")


def savings(ours: list[float], chance: list[float], most: int) -> float:
    """The share of labels that ours saves on the median."""
    cap = NEVER * most
    return 1 - float(np.median(np.minimum(ours, cap)) / np.median(np.minimum(chance, cap)))


def interval(row: Mapping[str, Any]) -> tuple[float, float]:
    """95 % bootstrap interval of the savings over the seeds, which both ways share."""
    rng = np.random.default_rng(0)
    ours, chance = np.array(row["ours"]), np.array(row["random"])
    drawn = []
    for _ in range(DRAWS):
        pick = rng.integers(0, len(ours), len(ours))
        drawn.append(savings(list(ours[pick]), list(chance[pick]), row["most"]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def line(row: Mapping[str, Any]) -> str:
    low, high = interval(row)
    ours, chance = (np.median(np.minimum(row[name], NEVER * row["most"])) for name in ("ours", "random"))
    missed = sum(np.isinf(row["ours"])), sum(np.isinf(row["random"]))
    saved = savings(row["ours"], row["random"], row["most"])
    return (
        f"{row['set']:14} full {np.mean(row['full']):.3f}  ours {ours:4.0f}  random {chance:4.0f}  "
        f"saved {saved:6.1%} ({low:6.1%} to {high:6.1%})  never there {missed[0]}/{missed[1]}"
    )


def report(rows: list[dict[str, Any]], seeds: int, file: Path | None) -> None:
    saved = [savings(row["ours"], row["random"], row["most"]) for row in rows]
    rng = np.random.default_rng(0)
    # Over the data sets and, in each, over the seeds.
    drawn = []
    for _ in range(DRAWS):
        medians = []
        for row in (rows[index] for index in rng.integers(0, len(rows), len(rows))):
            pick = rng.integers(0, seeds, seeds)
            ours, chance = np.array(row["ours"])[pick], np.array(row["random"])[pick]
            medians.append(savings(list(ours), list(chance), row["most"]))
        drawn.append(np.median(medians))
    low, high = np.quantile(drawn, [0.025, 0.975])
    results = {
        "label_savings_median": float(np.median(saved)),
        "label_savings_median_low": float(low),
        "label_savings_median_high": float(high),
        "label_savings_worst": float(min(saved)),
        "sets": len(rows),
        "seeds": seeds,
    }
    print(
        f"labels saved, median of {len(rows)} data sets, {seeds} seeds each: "
        f"{results['label_savings_median']:.1%} ({low:.1%} to {high:.1%}); worst {min(saved):.1%}"
    )
    plain = [
        {**row, **{way: [None if np.isinf(n) else n for n in row[way]] for way in ("ours", "random")}}
        for row in rows
    ]
    write_document(file, results, plain)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.exit(main())
