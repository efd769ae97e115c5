"""Measures of uncertainty, and a choice that is both uncertain and varied."""

import numpy as np
import pandas as pd
import pytest

from tidemill.labels.learner import Learner
from tidemill.labels.selection import choose, margin
from tidemill.project import Column, Project


def test_the_margin_is_that_of_the_definition():
    given = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.5, 0.3, 0.2]])
    assert margin(given) == pytest.approx([1.0, 0.0, 0.8])


def test_without_a_model_the_choice_covers_the_data():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [20, 0], [0, 20], [20, 20]])
    space = np.repeat(centres, [970, 10, 10, 10], axis=0) + rng.normal(size=(1000, 2))
    chosen = space[choose(space, None, 12, seed=1)]
    assert {tuple((point > 10).astype(int)) for point in chosen} == {(0, 0), (1, 0), (0, 1), (1, 1)}


def test_with_a_model_it_is_uncertain_and_varied():
    rng = np.random.default_rng(0)
    doubt = rng.random(1000)
    space = rng.normal(size=(1000, 3))
    space[np.argsort(-doubt)[:60]] += np.repeat([[30, 0, 0], [0, 30, 0], [0, 0, 30]], 20, axis=0)
    chosen = choose(space, doubt, 12, seed=1)
    assert doubt[chosen].min() > np.quantile(doubt, 0.93)
    assert {tuple((space[index] > 15).astype(int)) for index in chosen} == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}
    assert list(doubt[chosen]) == sorted(doubt[chosen], reverse=True)


@pytest.mark.parametrize("doubt", [None, np.zeros(30)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_equal_rows_still_fill_the_round(doubt):
    chosen = choose(np.ones((30, 2)), doubt, 10, seed=0)
    assert len(set(chosen)) == 10


def test_few_rows_are_all_chosen():
    assert sorted(choose(np.ones((3, 2)), None, 10, seed=0)) == [0, 1, 2]
    assert choose(np.ones((0, 2)), np.zeros(0), 10, seed=0) == []


def test_equal_seeds_choose_equal_rows():
    space = np.random.default_rng(0).normal(size=(300, 3))
    assert choose(space, None, 10, seed=4) == choose(space, None, 10, seed=4)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_the_learner_is_unsure_where_labels_are(task):
    """Between the classes, or where numbers vary, of one column."""
    kind = "float" if task == "regression" else "category"
    described = Project(
        name="p", task=task, columns={"x": Column(type="float"), "y": Column(type=kind, role="target")}
    )
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"x": rng.uniform(-1, 1, 300)})
    noise = rng.normal(scale=np.where(rows["x"] > 0, 1.0, 0.01))
    labels = noise if task == "regression" else np.where(rows["x"] + rng.normal(0, 0.1, 300) > 0, "a", "b")
    learner = Learner.fit(described, rows, labels, 1)
    doubt = learner.uncertainty(pd.DataFrame({"x": [-0.9, 0.02 if task == "binary" else 0.7]}))
    assert doubt[1] > doubt[0] + 0.1
