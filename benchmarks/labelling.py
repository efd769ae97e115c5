"""What labelling in Label Studio costs through our back end, and what is left of answers when its server dies.

A real Label Studio of our own, in a home of its own: seconds to push tasks that carry suggestions, and seconds to
take over new answers, given through its API. With `--chaos` its processes are killed at random moments while two
people answer and answers are taken over; then ledger and server must hold the same answers, each once.

    ./tidemill bench labelling.py [--quick] [--json FILE] [--chaos]
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from documents import write_document

from tidemill.errors import TidemillError
from tidemill.home import CHECKOUT, Home
from tidemill.labels import ledger
from tidemill.labels.backend import LabelTask, Suggestion
from tidemill.labels.label_studio import LabelStudio
from tidemill.project import Column, Project
from tidemill.store.state import State, open_state

sys.path.insert(0, str(CHECKOUT))
from tests.label_studio_server import Server, serve

CLASSES = ("no", "yes")
PEOPLE = ("ada", "bob")
RECOVERY = 60.0
MORE = 100
SEED = 7


@dataclass
class Bench:
    """One project on one server, with a ledger."""

    server: Server
    state: State
    name: str
    people: dict[str, int] = field(default_factory=dict)

    def backend(self, timeout: float = 60.0) -> LabelStudio:
        columns = {f"x{number}": Column(type="float") for number in range(10)}
        target = Column(type="category", role="target", values=list(CLASSES))
        project = Project(name=self.name, task="binary", columns={**columns, "y": target})
        return LabelStudio(
            project,
            CLASSES,
            url=self.server.url,
            token=self.server.token,
            mark=f"tidemill:bench:{self.name};",
            timeout=timeout,
        )

    def http(self, timeout: float = 60.0) -> httpx.Client:
        headers = {"Authorization": f"Token {self.server.token}"}
        return httpx.Client(base_url=self.server.url, headers=headers, timeout=timeout, trust_env=False)

    def push(self, count: int, annotators: int = 1, timeout: float = 60.0) -> dict[str, str]:
        with closing(self.backend(timeout)) as backend:
            return backend.push(made_tasks(count, annotators))

    def sync(self, timeout: float = 60.0) -> ledger.Synced:
        with closing(self.backend(timeout)) as backend:
            return ledger.sync(self.state, self.name, backend)

    def introduce(self) -> None:
        """The accounts of the people who answer."""
        with self.http() as http:
            known = {each["email"]: int(each["id"]) for each in http.get("/api/users").json()}
            for person in PEOPLE:
                email = f"{person}@example.org"
                if email not in known:
                    reply = http.post("/api/users", json={"email": email, "username": person})
                    known[email] = int(reply.raise_for_status().json()["id"])
                self.people[person] = known[email]

    def number(self, http: httpx.Client) -> int:
        """The project's number on the server."""
        found = http.get("/api/projects", params={"page_size": 1000}).raise_for_status().json()["results"]
        return int(next(each["id"] for each in found if f":{self.name};" in each["description"]))

    def on_server(self) -> Counter[tuple[int, int]]:
        """How many answers the server holds of each task and person, by its own export."""
        with self.http() as http:
            reply = http.get(f"/api/projects/{self.number(http)}/export", params={"exportType": "JSON"})
            tasks = reply.raise_for_status().json()
        return Counter(
            (int(task["id"]), int(each["completed_by"])) for task in tasks for each in task["annotations"]
        )


@contextmanager
def closing(backend: LabelStudio) -> Iterator[LabelStudio]:
    try:
        yield backend
    finally:
        backend.close()


def made_tasks(count: int, annotators: int) -> list[LabelTask]:
    rng = random.Random(SEED)
    return [
        LabelTask(
            f"row-{number:06d}",
            {f"x{column}": round(rng.gauss(0, 1), 6) for column in range(10)},
            Suggestion(rng.choice(CLASSES), round(rng.uniform(0.5, 1), 4), 1),
            "uncertain",
            annotators,
        )
        for number in range(count)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the tasks, answers and kills")
    parser.add_argument("--rounds", type=int, default=1, help="how often tasks are pushed and answers pulled")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--chaos", action="store_true", help="kill the server while people answer")
    options = parser.parse_args()
    part = 10 if options.quick else 1
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        root = Path(folder)
        with serve(root / "server") as server:
            state = open_state(Home.find(root / "ledger").ensure())
            if options.chaos:
                results, rows = chaos(server, state, answers=500 // part, kills=10 // part)
            else:
                results, rows = speed(
                    server, state, rounds=options.rounds, tasks=10_000 // part, answers=1_000 // part
                )
    report(results, rows, options.json)
    return int(bool(results.get("failed")))


def speed(
    server: Server, state: State, *, rounds: int, tasks: int, answers: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Push and pull, each round in a project of its own; a push again must make nothing new."""
    rows = []
    for number in range(rounds):
        bench = Bench(server, state, f"speed{number}")
        bench.introduce()
        began = time.monotonic()
        ids = bench.push(tasks)
        pushed = time.monotonic() - began
        began = time.monotonic()
        same = bench.push(tasks) == ids
        again = time.monotonic() - began
        chosen = list(ids.values())[:answers]
        began = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda task, bench=bench: answer_once(bench, task), chosen))
        answered = time.monotonic() - began
        began = time.monotonic()
        taken = bench.sync()
        pulled = time.monotonic() - began
        began = time.monotonic()
        bench.sync()
        idle = time.monotonic() - began
        if len(set(ids.values())) != tasks or not same or taken.new != answers:
            raise SystemExit(f"{len(set(ids.values()))} of {tasks} tasks, again the same: {same}; {taken}")
        rows.append({"push": pushed, "push_again": again, "answer": answered, "pull": pulled, "idle": idle})
        print(f"  {rows[-1]}", file=sys.stderr, flush=True)
    results: dict[str, Any] = {"tasks": tasks, "answers": answers}
    for name in rows[0]:
        ordered = sorted(row[name] for row in rows)
        results |= {f"{name}_seconds": statistics.median(ordered), f"{name}_seconds_worst": ordered[-1]}
    return results, rows


def answer_once(bench: Bench, task: str) -> None:
    with bench.http() as http:
        body = answer_of(bench.people["ada"], task)
        http.post(f"/api/tasks/{task}/annotations", json=body).raise_for_status()


def answer_of(person: int, task: str) -> dict[str, Any]:
    label = CLASSES[int(task) % 2]
    choice = {"from_name": "label", "to_name": "c0", "type": "choices", "value": {"choices": [label]}}
    return {"result": [choice], "completed_by": person, "lead_time": 1.5}


def chaos(
    server: Server, state: State, *, answers: int, kills: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Two people answer, a third program takes over, and the server is killed `kills` times meanwhile.

    More and more tasks are pushed meanwhile, so that kills fall into that as well: none may be there twice, or
    lack its suggestion. Each person answers about the tasks that were there first, half the answers each.
    """
    bench = Bench(server, state, "chaos")
    bench.introduce()
    tasks = answers // 2
    ids = bench.push(tasks, annotators=2)
    wanted = [int(each) for each in ids.values()]
    done: set[tuple[int, int]] = set()
    over = threading.Event()
    rows: list[dict[str, Any]] = []
    told: Counter[str] = Counter()
    rng = random.Random()
    with ThreadPoolExecutor(4) as pool:
        people = [pool.submit(answer_all, bench, one, wanted, done, told) for one in bench.people.values()]
        taking = pool.submit(take_over, bench, over, told)
        pushing = pool.submit(push_more, bench, ids, over, told)
        try:
            for number in range(kills):
                # By how far the answers are, so that every kill comes while people answer.
                share = (number + rng.random()) / kills
                while len(done) < share * answers and not all(one.done() for one in people):
                    time.sleep(0.005)
                time.sleep(rng.uniform(0, 0.3))
                at = len(done)
                server.kill()
                began = time.monotonic()
                server.start()
                rows.append({"answers": at, "down_seconds": time.monotonic() - began})
                print(f"  kill {number + 1}: {rows[-1]}", file=sys.stderr, flush=True)
            recovered = time.monotonic()
            for one in people:
                one.result()
            finished = time.monotonic()
        finally:
            over.set()
        taking.result()
        asked = pushing.result()
    expected = Counter({(task, person): 1 for task in wanted for person in bench.people.values()})
    equal_after = until_equal(bench, finished)
    found = bench.on_server()
    kept = kept_of(bench, ids)
    results = {
        "answers": answers,
        "kills": kills,
        "lost": (expected - found).total(),
        "doubled": (found - expected).total(),
        "ledger_lost": (expected - kept).total(),
        "ledger_doubled": (kept - expected).total(),
        "tasks": asked,
        **asked_of(bench, asked),
        "answers_finished_seconds_after_last_start": finished - recovered,
        "equal_seconds_after_last_answer": equal_after,
        "replies_lost": told["lost reply"],
        "found_when_looked_up": told["was there"],
        "syncs": told["sync"],
        "syncs_refused": told["sync refused"],
        "pushes": told["push"],
        "pushes_refused": told["push refused"],
    }
    faults = (
        "lost",
        "doubled",
        "ledger_lost",
        "ledger_doubled",
        "tasks_lost",
        "tasks_doubled",
        "suggestions_lost",
    )
    results["failed"] = [name for name in faults if results[name]]
    if equal_after is None or equal_after > RECOVERY:
        results["failed"].append("equal_seconds_after_last_answer")
    return results, rows


def answer_all(
    bench: Bench, person: int, tasks: Sequence[int], done: set[tuple[int, int]], told: Counter[str]
) -> None:
    """One person's answers; one whose reply was lost is looked up before it is sent again."""
    with bench.http(timeout=20.0) as http:
        for task in tasks:
            patiently(lambda task=task: send(http, task, person, told), told)
            done.add((task, person))


def send(http: httpx.Client, task: int, person: int, told: Counter[str]) -> None:
    where = f"/api/tasks/{task}/annotations"
    there = http.get(where).raise_for_status().json()
    if any(each["completed_by"] == person for each in there):
        told["was there"] += 1
        return
    http.post(where, json=answer_of(person, str(task))).raise_for_status()


def patiently(act: Callable[[], None], told: Counter[str], patience: float = 180.0) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            return act()
        except httpx.HTTPError:
            told["lost reply"] += 1
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def take_over(bench: Bench, over: threading.Event, told: Counter[str]) -> None:
    while not over.wait(0.3):
        try:
            bench.sync(timeout=20.0)
            told["sync"] += 1
        except TidemillError:
            told["sync refused"] += 1


def push_more(bench: Bench, ids: dict[str, str], over: threading.Event, told: Counter[str]) -> int:
    """Push ever more tasks, each time those before as well; how many there are to be at the end."""
    count, known = len(ids), dict(ids)
    while not over.wait(1.0):
        count += MORE
        try:
            pushed = bench.push(count, 2, timeout=20.0)
        except TidemillError:
            told["push refused"] += 1
            continue
        told["push"] += 1
        if known.items() - pushed.items():
            raise SystemExit("pushing again gave other tasks")
        known = pushed
    bench.push(count, 2)
    return count


def asked_of(bench: Bench, wanted: int) -> dict[str, int]:
    """How the server's tasks differ from the `wanted` first ones, by its own export of all of them."""
    with bench.http() as http:
        where = f"/api/projects/{bench.number(http)}/export"
        reply = http.get(where, params={"exportType": "JSON", "download_all_tasks": "true"})
        found = reply.raise_for_status().json()
    rows = Counter(str(task["data"]["tidemill_row"]) for task in found)
    expected = Counter(task.row for task in made_tasks(wanted, 2))
    return {
        "tasks_lost": (expected - rows).total(),
        "tasks_doubled": (rows - expected).total(),
        "suggestions_lost": sum(not task["predictions"] for task in found),
    }


def kept_of(bench: Bench, ids: dict[str, str]) -> Counter[tuple[int, int]]:
    """How many answers the ledger holds of each task and person."""
    people = {f"{name}@example.org": number for name, number in bench.people.items()}
    live = [each for each in ledger.answers(bench.state, bench.name) if each.is_label]
    return Counter((int(ids[each.row]), people[each.annotator]) for each in live)


def until_equal(bench: Bench, since: float) -> float | None:
    """Seconds from `since` until ledger and server hold equally many answers; None when they never did."""
    while time.monotonic() - since < 2 * RECOVERY:
        bench.sync()
        live = sum(each.is_label for each in ledger.answers(bench.state, bench.name))
        if live == bench.on_server().total():
            return time.monotonic() - since
        time.sleep(0.5)
    return None


def report(results: dict[str, Any], rows: list[dict[str, Any]], file: Path | None) -> None:
    for name, value in results.items():
        print(f"{name:<45}{value:.2f}" if isinstance(value, float) else f"{name:<45}{value}")
    write_document(file, results, rows)


if __name__ == "__main__":
    sys.exit(main())
