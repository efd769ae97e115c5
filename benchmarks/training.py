"""What the platform adds to a search, how good its models are, and how much memory a large table takes.

Overhead: a training over the API, from the request to the end of its run (labels, features, checks, search,
MLflow, bundle, evaluation, gate), against a bare script with Optuna and scikit-learn that does the same search on
the same rows, from its start to its model file. In turn, in the same run, on a table of 1,000 rows and on one of
19,000 whose search takes about a minute; the same settings are tried, and both best scores are shown.
Quality: on data sets beside the checkout, the same train and test rows and seconds of search for us, a random
search over HistGradientBoosting written by hand, and FLAML; one thread each; with the 95 % bootstrap interval of
the difference on the test rows.
Memory: peak of a process that trains on 1 million rows of 30 columns, writes the bundle, and looks at rows and
model as the checks and the evaluation do.

FLAML lives in an environment of its own under ~/.cache/tidemill-bench, which this script makes.

    ./tidemill bench training.py [--quick] [--json FILE] [--seconds N] [--parts overhead quality memory]

`--quick` (the small overhead alone) ends within 50 s. All of it takes about 25 minutes on two quiet cores: overhead
6, quality 14 (three sides on six sets of 40 s each), memory 5.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from documents import write_document
from environments import python_with
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, root_mean_squared_error

from tidemill.client import Client
from tidemill.data.init import init_project
from tidemill.home import CHECKOUT, Home
from tidemill.ops import control
from tidemill.store.tables import TableStore

DATA = CHECKOUT.parent / "shared" / "data"
SIDES = Path(__file__).parent / "searching"
CACHE = Path.home() / ".cache" / "tidemill-bench"
PEERS = ("flaml[automl]==2.3.5", "pandas<3")
SMALL, MIDDLE = "small", "telescope"
SMALL_ROWS, SMALL_TRIALS, SMALL_ROUNDS = 1_000, 1, 3
# Settings of each of the three candidates that take a bare script about a minute here.
TRIALS, ROUNDS = 9, 2
DRAWS = 500
SEED = 0
PARTS = ("overhead", "quality", "memory")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the overhead of one short search on few rows")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--seconds", type=float, default=40.0, help="of search, for each side's quality")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    results: dict[str, float] = {}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        aside = Path(folder)
        if "overhead" in options.parts:
            results |= overhead(aside, quick=options.quick)
        if "quality" in options.parts and not options.quick:
            rows = quality(aside, options.seconds)
            results |= summary(rows)
        if "memory" in options.parts and not options.quick:
            found = json.loads(side(sys.executable, "large.py", "1000000", "30", str(aside / "models")))
            print(f"1 million x 30: {found}")
            results |= {f"million_{name}": found[name] for name in found if isinstance(found[name], float)}
    for name, value in results.items():
        print(f"{name:28} {value:.4g}")
    write_document(options.json, results, rows)
    return 0


def side(python: str, script: str, *arguments: str) -> str:
    """The last line that a script of `searching` prints."""
    done = subprocess.run(
        [python, str(SIDES / script), *arguments], capture_output=True, text=True, cwd=SIDES
    )
    if done.returncode != 0:
        raise SystemExit(f"{script} {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    print(done.stderr.strip()[-400:], file=sys.stderr)
    return (done.stdout.strip().splitlines() or [""])[-1]


def overhead(folder: Path, *, quick: bool) -> dict[str, float]:
    """Seconds of runs of the platform and of the bare script on the same searches, in turn."""
    home = Home.find(folder / "home").ensure()
    telescope = pd.read_csv(DATA / "pycaret_telescope.csv")
    describe(home, SMALL, telescope.sample(SMALL_ROWS, random_state=SEED), SMALL_TRIALS)
    if not quick:
        describe(home, MIDDLE, telescope, TRIALS)
    state = control.start_detached(home, lambda line: print(f"  {line}", file=sys.stderr))
    try:
        key = (home.secrets / "owner.key").read_text().strip()
        with Client(state.urls()["API"], key, timeout=60.0) as client:
            if quick:
                pairs = in_turn(home, client, SMALL, SMALL_TRIALS, 1, folder)
                return named(pairs, "small_")
            # The first run of a home makes MLflow's database; what is measured is a training of every day.
            deliver(home, client, SMALL)
            train_once(client, SMALL)
            small = in_turn(home, client, SMALL, SMALL_TRIALS, SMALL_ROUNDS, folder)
            middle = in_turn(home, client, MIDDLE, TRIALS, ROUNDS, folder)
            return {**named(middle, ""), **named(small, "small_")}
    finally:
        control.stop(home, lambda _: None)


def describe(home: Home, project: str, table: pd.DataFrame, trials: int) -> None:
    """A project of `home` with `table` as its file, not yet delivered."""
    source = home.root.parent / f"{project}.csv"
    table.to_csv(source, index=False)
    init_project(home, source, project, "Class")
    file = home.project_file(project)
    document = yaml.safe_load(file.read_text())
    document["training"] = {"trials": trials}
    file.write_text(yaml.safe_dump(document, sort_keys=False))


def deliver(home: Home, client: Client, project: str) -> None:
    client.wait_file(
        project, client.upload(project, home.root.parent / f"{project}.csv")["id"], timeout=120.0
    )


def in_turn(
    home: Home, client: Client, project: str, trials: int, rounds: int, folder: Path
) -> list[tuple[float, float]]:
    """Seconds of the platform and of the bare script, a pair for each round."""
    if TableStore(home.tables(project)).current("raw") is None:
        deliver(home, client, project)
    pairs = []
    for turn in range(rounds):
        ours = train_once(client, project)
        rows = export(home, project, folder / "rows.csv")
        began = time.perf_counter()
        said = side(sys.executable, "bare.py", str(rows), str(trials), str(folder / "bare.joblib"))
        pairs.append((ours, time.perf_counter() - began))
        print(f"{project}, round {turn}: platform {ours:.1f} s, bare {pairs[-1][1]:.1f} s", flush=True)
    best = max(json.loads(said).values())
    version = max(model["version"] for model in client.models(project)["models"])
    chosen = next(each for each in client.model(project, version)["candidates"] if each["chosen"])
    print(f"{project}, best by cross-validation: bare {best:.6f}, ours {chosen['cv_mean']:.6f}")
    return pairs


def named(pairs: list[tuple[float, float]], prefix: str) -> dict[str, float]:
    """Medians over the rounds; no ratio of a search that takes less than starting Python does."""
    found = {
        f"{prefix}overhead_seconds": statistics.median(ours - bare for ours, bare in pairs),
        f"{prefix}platform_seconds": statistics.median(ours for ours, _ in pairs),
        f"{prefix}bare_seconds": statistics.median(bare for _, bare in pairs),
    }
    if not prefix:
        found["overhead_ratio"] = statistics.median(ours / bare for ours, bare in pairs)
    return found


def train_once(client: Client, project: str) -> float:
    began = time.perf_counter()
    training = client.wait_training(project, client.start_training(project, "benchmark")["id"], timeout=900.0)
    if training["status"] != "succeeded":
        raise SystemExit(f"the training ended as {training['status']}: {training['error']}")
    return time.perf_counter() - began


def export(home: Home, project: str, file: Path) -> Path:
    """The train rows of the features table, as the bare script reads them."""
    features = TableStore(home.tables(project)).require("features").to_pandas()
    rows = features[features["_split"] == "train"]
    rows.drop(columns=["_row", "_split"]).to_csv(file, index=False)
    return file


def sets() -> list[tuple[str, pd.DataFrame, str, bool]]:
    """Name, table, target, whether it is a classification."""
    telco = pd.read_csv(DATA / "telco_churn.csv").drop(columns="customerID")
    telco["TotalCharges"] = pd.to_numeric(telco["TotalCharges"], errors="coerce")
    bike = pd.read_csv(DATA / "pycaret_bike.csv").drop(columns=["instant", "dteday"])
    return [
        ("telco_churn", telco, "Churn", True),
        ("bank", pd.read_csv(DATA / "pycaret_bank.csv"), "deposit", True),
        ("telescope", pd.read_csv(DATA / "pycaret_telescope.csv"), "Class", True),
        ("bike", bike, "cnt", False),
        ("insurance", pd.read_csv(DATA / "pycaret_insurance.csv"), "charges", False),
        ("wine_quality", pd.read_csv(DATA / "pycaret_wine.csv"), "quality", False),
    ]


def quality(folder: Path, seconds: float) -> list[dict[str, Any]]:
    """Each data set's metric of every side, and the interval of our lead over each."""
    peers = python_with(CACHE / "training-peers", PEERS)
    rows = []
    for name, table, target, classification in sets():
        order = np.random.default_rng(SEED).permutation(len(table))
        held = order[: len(table) // 4]
        files = folder / f"{name}-train.csv", folder / f"{name}-test.csv"
        table.iloc[order[len(held) :]].to_csv(files[0], index=False)
        table.iloc[held].to_csv(files[1], index=False)
        task = "classification" if classification else "regression"
        answers = {}
        for which in ("ours", "hand", *(["flaml"] if peers else [])):
            python = str(peers) if which == "flaml" else sys.executable
            said = folder / f"{name}-{which}.csv"
            side(python, "sides.py", which, *map(str, files), target, task, str(seconds), str(said))
            answers[which] = pd.read_csv(said)["answer"].to_numpy()
        truth = table.iloc[held][target]
        positive = sorted(table[target].astype(str).unique())[1] if classification else None
        known = (truth.astype(str) == positive).to_numpy() if classification else truth.to_numpy(dtype=float)
        rows.append(
            {"set": name, "metric": "roc_auc" if classification else "rmse", **compare(known, answers)}
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def compare(truth: NDArray[Any], answers: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """The metric of every side, and our lead over each peer with its interval; larger is better for us."""
    classification = truth.dtype == bool

    def metric(rows: NDArray[Any], answer: NDArray[Any]) -> float:
        if classification:
            return float(roc_auc_score(truth[rows], answer[rows]))
        return float(root_mean_squared_error(truth[rows], answer[rows]))

    everything = np.arange(len(truth))
    values = {which: metric(everything, answer) for which, answer in answers.items()}
    rng = np.random.default_rng(SEED)
    draws: dict[str, list[float]] = {which: [] for which in answers if which != "ours"}
    sign = 1.0 if classification else -1.0
    for _ in range(DRAWS):
        rows = rng.integers(0, len(truth), len(truth))
        own = metric(rows, answers["ours"])
        for which, found in draws.items():
            found.append(sign * (own - metric(rows, answers[which])))
    leads = {
        f"lead_over_{which}": [
            sign * (values["ours"] - values[which]),
            *map(float, np.quantile(found, [0.025, 0.975])),
        ]
        for which, found in draws.items()
    }
    return {**values, **leads}


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """On how many sets ours is not surely worse than each peer: the interval of the lead reaches 0."""
    results: dict[str, float] = {"quality_sets": len(rows)}
    for which in ("hand", "flaml"):
        leads = [row[f"lead_over_{which}"] for row in rows if f"lead_over_{which}" in row]
        if leads:
            results[f"not_worse_than_{which}"] = sum(high >= 0 for _, _, high in leads)
            results[f"surely_better_than_{which}"] = sum(low > 0 for _, low, _ in leads)
    return results


if __name__ == "__main__":
    sys.exit(main())
