"""Many hints make one look, and the last one is never left out."""

import threading
import time

from tidemill.errors import NotReady
from tidemill.labels.hints import Hints


def until(condition: object, patience: float = 20.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_many_hints_make_one_look() -> None:
    hints, looks = Hints(wait=0.2), []
    for number in range(50):
        hints.ask("shop", lambda number=number: looks.append(number))  # type: ignore[misc]
    until(lambda: looks)
    time.sleep(0.5)
    assert len(looks) == 1


def test_a_hint_during_a_look_makes_another() -> None:
    hints, looks, go = Hints(wait=0.01), [], threading.Event()

    def look() -> None:
        looks.append(1)
        go.wait(20)

    hints.ask("shop", look)
    until(lambda: looks)
    hints.ask("shop", look)
    go.set()
    until(lambda: len(looks) == 2)


def test_a_look_that_fails_stops_nothing() -> None:
    hints, looks = Hints(wait=0.01), []

    def fail() -> None:
        looks.append(1)
        raise NotReady("Away", detail="it is down", remedy="wait")

    hints.ask("shop", fail)
    until(lambda: looks)
    until(lambda: not hints._asked)
    hints.ask("shop", fail)
    until(lambda: len(looks) == 2)
