"""`tidemill demo`: the whole loop, once, on real data, through the same doors a user has.

Everything goes over the API, as a program of the user's would; only starting the services and making the project
are done directly, as the command line does. What is printed is what was answered; nothing is computed here twice.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.client import ApiError, Client
from tidemill.client_types import TrainingInfo
from tidemill.console import colour, duration, size
from tidemill.errors import TidemillError
from tidemill.home import Home

if TYPE_CHECKING:
    from tidemill.ops.state import State

PROJECT = "breast_cancer"
TARGET = "diagnosis"
PREDICTIONS = 200
TRUTHS = 100
SHIFTED = 300
STEPS = 10


@dataclass
class Numbers:
    """What the demo measured, for its summary."""

    began: float
    to_first_step: float | None = None
    predictions_per_second: float | None = None
    notes: list[str] = field(default_factory=list)


def run_demo(home: Home, exit_after: bool = False) -> int:
    """Run the loop and print each step; the services are left running unless `exit_after`."""
    from tidemill.ops import control

    numbers = Numbers(time.monotonic())
    teller = Teller(STEPS)
    try:
        folder = home.ensure().root / "demo"
        files = _make_project(home, folder, teller)
        state = _start_services(home, teller)
        key = (home.secrets / "owner.key").read_text().strip()
        with Client(state.urls()["API"], key, timeout=60.0) as client:
            _ingest(client, files, teller)
            training = _train(client, teller, numbers)
            _show_model(client, training, teller)
            ids = _predict(client, teller, numbers)
            _send_truth(client, ids, teller)
            _shift(client, teller)
            _report_drift(client, teller)
            _query(home, teller)
        _summary(home, state, numbers)
    except ApiError as error:
        raise TidemillError(error.title, detail=error.detail, remedy=error.remedy) from error
    finally:
        if exit_after:
            control.stop(home, lambda _: None)
    return 0


class Teller:
    """Prints numbered steps: what is being done, how far it is, what came of it."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.number = 0
        self.live = sys.stdout.isatty()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """One step; an error ends its line and goes on."""
        self.number += 1
        step = Step(f"[{self.number:>2}/{self.total}] {title}", self.live)
        step.begin()
        try:
            yield step
        except BaseException:
            step.end(colour("failed", "red"))
            raise
        step.end(colour("done", "green"))


class Step:
    def __init__(self, title: str, live: bool) -> None:
        self.title = title
        self.live = live
        self.began = time.monotonic()
        self.results: list[str] = []
        self.last = ""

    def begin(self) -> None:
        print(f"{self.title} ...", end="" if self.live else "\n", flush=True)

    def progress(self, text: str) -> None:
        """How far it is: rewritten in place on a terminal, a line per change elsewhere."""
        if self.live:
            print(f"\r\x1b[K{self.title} ... {text}", end="", flush=True)
        elif text and text != self.last:
            print(f"        {text}", flush=True)
        self.last = text

    def result(self, text: str) -> None:
        self.results.append(text)

    def end(self, verdict: str) -> None:
        seconds = time.monotonic() - self.began
        print(f"\r\x1b[K{self.title} ... " if self.live else "        ", end="")
        print(f"{verdict} in {seconds:.1f} s", flush=True)
        for line in self.results:
            print(f"        {line}", flush=True)


def _make_project(home: Home, folder: Path, teller: Teller) -> list[Path]:
    from tidemill.data.init import init_project
    from tidemill.data.samples import write_breast_cancer

    with teller.step("Write the hospital's files and make the project from the CSV") as step:
        # What was sent once is sent again word for word: a second demo brings no new rows.
        files = sorted(folder.glob("hospital_*")) or write_breast_cancer(folder)
        for file in files:
            step.result(f"{file.name}: {size(file.stat().st_size)}")
        if home.project_file(PROJECT).exists():
            step.result(f"project {PROJECT} is there already: {home.project_file(PROJECT)}")
        else:
            made = init_project(home, files[0], PROJECT, TARGET)
            step.result(f"wrote {made.project_file}")
    return files


def _start_services(home: Home, teller: Teller) -> State:
    from tidemill.ops import control

    with teller.step("Start the services") as step:
        if control.running_state(home) is not None:
            step.result("they run already")
        state = control.start_detached(home, lambda line: step.progress(line.split(" ", 1)[-1].strip()))
        for title, url in state.urls().items():
            step.result(f"{title:<10} {url}")
    return state


def _ingest(client: Client, files: Sequence[Path], teller: Teller) -> None:
    with teller.step("Take the files in: read, check against the contract, publish") as step:
        for file in files:
            sent = client.upload(PROJECT, file)
            taken = client.wait_file(PROJECT, sent["id"], timeout=180.0)
            if taken["status"] != "accepted":
                problem = taken.get("problem") or {}
                raise TidemillError(
                    f"{file.name} was refused",
                    detail=str(problem.get("detail", "")),
                    remedy=str(problem.get("remedy", "")),
                )
            step.result(
                f"{file.name}: {taken['rows']} rows = {taken['accepted']} accepted + {taken['rejected']} rejected"
                f" -> raw@{taken['dataset_version']}"
            )


def _train(client: Client, teller: Teller, numbers: Numbers) -> TrainingInfo:
    with teller.step("Train: labels -> features -> candidates -> evaluation -> gate -> deployment") as step:
        began = time.time()
        started = client.start_training(PROJECT, reason="demo")

        def show(run: TrainingInfo) -> None:
            active = [_short(one["name"]) for one in run["steps"] if one["status"] == "running"]
            search = run["progress"]
            if active == ["model"] and search:
                best = f"{search['done']} of {search['total']} fits, best {search['best_score']:.3f}"
                step.progress(f"model: {best} ({search['name']})")
            elif active:
                step.progress(", ".join(active))

        training = client.wait_training(PROJECT, started["id"], timeout=600.0, on_progress=show)
        if training["status"] != "succeeded":
            raise TidemillError(
                "The training failed",
                detail=str(training.get("error") or training["status"]),
                remedy=f"Look at the run in Dagster: {started.get('dagster_url') or 'see ./tidemill status'}",
            )
        first = min(_seconds(one["started_at"]) for one in training["steps"] if one["started_at"])
        numbers.to_first_step = first - began
        step.result(f"first step {numbers.to_first_step:.1f} s after the request")
    return training


def _show_model(client: Client, training: TrainingInfo, teller: Teller) -> None:
    with teller.step("Look at the model that was deployed") as step:
        version = training["model_version"]
        if version is None:
            raise TidemillError("The training made no model", remedy="Look at the run in Dagster.")
        model = client.model(PROJECT, version)
        metric = model["metric"]
        interval = model["metrics"][metric]
        step.result(
            f"model {version}, {model['estimator']}: {metric} {interval['value']:.3f} "
            f"(95 % interval {interval['low']:.3f} to {interval['high']:.3f}, "
            f"baseline {model['baseline'].get(metric, float('nan')):.3f}) on held-out rows"
        )
        live = client.deployment(PROJECT)
        step.result(f"model {live['champion']} answers predictions (revision {live['revision']})")


def _predict(client: Client, teller: Teller, numbers: Numbers) -> list[tuple[str, str]]:
    """Predict records nobody trained on, one request each; pairs of prediction id and true label."""
    from tidemill.data.samples import breast_cancer_holdout

    pairs: list[tuple[str, str]] = []
    with teller.step(f"Ask for {PREDICTIONS} predictions over HTTP, one by one") as step:
        records = breast_cancer_holdout(PREDICTIONS)
        began = time.monotonic()
        for number, (record, truth) in enumerate(records, start=1):
            answer = client.predict(PROJECT, record)
            pairs.append((answer["id"], truth))
            if number % 50 == 0:
                step.progress(f"{number} of {len(records)}")
        numbers.predictions_per_second = len(records) / (time.monotonic() - began)
        step.result(
            f"{len(pairs)} answers, {numbers.predictions_per_second:.0f} a second, each logged before it left"
        )
    return pairs


def _send_truth(client: Client, pairs: Sequence[tuple[str, str]], teller: Teller) -> None:
    with teller.step(f"Send the truth for {TRUTHS} of them") as step:
        receipt = client.send_truths(
            PROJECT, [{"prediction_id": each, "label": label} for each, label in pairs[:TRUTHS]]
        )
        quality = client.quality(PROJECT)
        step.result(f"{receipt['accepted']} accepted, {receipt['matched']} matched to a prediction")
        shown = ", ".join(
            f"{name} {value['value']:.3f}" for name, value in list(quality["metrics"].items())[:3]
        )
        step.result(f"live quality on {quality['matched']} outcomes: {shown}")


def _shift(client: Client, teller: Teller) -> None:
    from tidemill.data.samples import shifted_batch

    with teller.step(f"Send {SHIFTED} records from a scanner that measures differently") as step:
        answers = client.predict_many(PROJECT, shifted_batch(SHIFTED, seed=11))
        flagged = sum(bool(answer["flags"]) for answer in answers)
        step.result(f"{len(answers)} answers, {flagged} flagged as outside the contract's ranges")


def _report_drift(client: Client, teller: Teller) -> None:
    with teller.step("Compare the newest window with the training data") as step:
        started = client.start_drift(PROJECT)
        run = client.wait_run(PROJECT, started["id"], timeout=180.0)
        report = client.drift(PROJECT)
        if run["status"] != "succeeded" or report is None:
            raise TidemillError("The drift report failed", detail=str(run.get("error") or run["status"]))
        drifted = [column["column"] for column in report["columns"] if column["drifted"]]
        alerts = client.alerts(PROJECT, state="open")
        if report["verdict"] != "drift" or not alerts:
            raise TidemillError(
                "The shifted batch raised no alert",
                detail=f"verdict {report['verdict']} on {report['rows']} rows, {len(alerts)} open alerts",
                remedy="Look at the Monitor page and at the worker's log.",
            )
        step.result(
            f"verdict: {report['verdict']}; {len(drifted)} columns moved, first {', '.join(drifted[:3])}"
        )
        for alert in alerts:
            step.result(f"alert: {alert['title']}")


def _query(home: Home, teller: Teller) -> None:
    from tidemill.store.sql import query

    text = (
        "SELECT p.model_version, count(*) AS predictions, count(o.truth) AS with_truth "
        "FROM predictions p LEFT JOIN outcomes o USING (id) GROUP BY ALL"
    )
    with teller.step("Ask the prediction log in SQL") as step:
        result = query(home, PROJECT, text)
        step.result(f'./tidemill sql {PROJECT} "SELECT ..."')
        for row in result.rows:
            step.result(", ".join(f"{name} {value}" for name, value in zip(result.columns, row, strict=True)))


def _summary(home: Home, state: State, numbers: Numbers) -> None:
    from tidemill.ops import control

    report = control.report(home)
    urls = state.urls()
    elapsed = time.monotonic() - numbers.began
    print()
    print(colour("The loop is closed.", "bold"))
    print(f"  from start to here          {duration(elapsed)} ({elapsed:.0f} s)")
    print(f"  memory of all services      {size(report['memory'])}")
    if numbers.to_first_step is not None:
        print(f"  request to first step       {numbers.to_first_step:.1f} s")
    if numbers.predictions_per_second is not None:
        print(f"  predictions, one by one     {numbers.predictions_per_second:.0f} a second")
    print()
    print(colour("Open these pages:", "bold"))
    print(f"  {urls['Dashboard']:<28} the dashboard: overview, data, training, models, predict, monitor")
    print(f"  {urls['Dagster']:<28} Dagster: the asset graph, runs, checks")
    print(f"  {urls['API'] + '/docs':<28} the API")
    # A person at a terminal gets the key itself; what may end up in a log names its file.
    key = home.secrets / "owner.key"
    print(f"  key for the API             {key.read_text().strip() if sys.stdout.isatty() else key}")
    print()
    print("  ./tidemill status, ./tidemill logs, ./tidemill down")


def _short(step_name: str) -> str:
    """`breast_cancer__model` is shown as `model`."""
    return step_name.removeprefix(f"{PROJECT}__")


def _seconds(stamp: str | None) -> float:
    """An ISO time as seconds since the epoch."""
    assert stamp is not None
    return datetime.fromisoformat(stamp).timestamp()
