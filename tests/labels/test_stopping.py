"""When more labels stop changing what the model says."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from tidemill.home import Home
from tidemill.labels import stopping
from tidemill.project import Column, Project

DESCRIBED = Project(
    name="p",
    task="binary",
    columns={"x": Column(type="float"), "y": Column(type="category", role="target")},
)


def test_agreement_of_labels_is_cohens_kappa():
    rng = np.random.default_rng(0)
    one = rng.choice(["a", "b", "c"], 400)
    other = np.where(rng.random(400) < 0.9, one, rng.choice(["a", "b", "c"], 400))
    assert stopping.agreement(one, other) == pytest.approx(cohen_kappa_score(one, other), abs=1e-12)
    assert stopping.agreement(one, one.copy()) == 1.0
    assert stopping.agreement(np.array(["a", "a"]), np.array(["a", "b"])) == 0.0


def test_agreement_of_numbers_falls_with_noise_and_with_a_shift():
    one = np.linspace(0, 1, 200)
    noisy = one + np.random.default_rng(0).normal(scale=0.1, size=200)
    assert 0.8 < stopping.agreement(one, noisy) < 0.99
    assert stopping.agreement(one, one + 0.5) < 0.5
    assert stopping.agreement(one, one.copy()) == 1.0


@pytest.mark.parametrize(
    ("kappas", "stop"),
    [
        ([0.995, 0.992, 0.999], True),
        ([0.5, 0.995, 0.992, 0.999], True),
        ([0.995, 0.98, 0.999], False),
        ([0.999, 0.999], False),
        ([], False),
    ],
)
def test_three_times_running_is_enough(kappas, stop):
    assert stopping.judge(kappas, [], 100).stop is stop


def test_the_stop_set_stays_when_rows_are_added():
    rows = pd.DataFrame({"_row": [f"r{index}" for index in range(5000)], "x": 0.0})
    before = set(stopping.stop_set(rows.iloc[:4000], DESCRIBED)["_row"])
    after = set(stopping.stop_set(rows, DESCRIBED)["_row"])
    assert len(before) == len(after) == stopping.STOP_ROWS
    assert len(before & after) > 0.7 * stopping.STOP_ROWS


def test_without_models_nothing_is_said(home: Home):
    found = stopping.stability(home, DESCRIBED)
    assert (found.stop, found.kappas) == (False, [])
    assert "4 are needed" in found.text
