"""How far a training is, from one process to another."""

import os
import time

from tidemill.home import Home
from tidemill.learn.progress import KEEP_SECONDS, read_progress, write_progress
from tidemill.learn.training import Progress


def test_what_was_written_last_is_read(home: Home) -> None:
    for done in (1, 2):
        write_progress(home, "run-1", Progress(done, 54, 0.9, "linear"))
    assert read_progress(home, "run-1") == {"done": 2, "total": 54, "best_score": 0.9, "name": "linear"}


def test_a_run_that_has_not_begun_has_none(home: Home) -> None:
    assert read_progress(home, "run-1") is None


def test_an_id_from_a_request_is_never_a_path(home: Home) -> None:
    (home.run / "ports.json").write_text("{}")
    assert read_progress(home, "../ports") is None


def test_old_files_are_cleared(home: Home) -> None:
    write_progress(home, "old", Progress(1, 2, 0.5, "linear"))
    old = time.time() - KEEP_SECONDS - 60
    os.utime(home.training_progress / "old.json", (old, old))
    write_progress(home, "new", Progress(1, 2, 0.5, "linear"))
    assert read_progress(home, "old") is None
    assert read_progress(home, "new") is not None
