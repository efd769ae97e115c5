"""Candidates of a search: the model behind each name, how its columns are encoded, and what may be varied.

Here belongs what is particular to one kind of model. Putting it behind an encoder is in `learn/pipeline.py`,
trying settings in `learn/search.py`, LightGBM and its like in `learn/boosters.py`, a project's own in
`learn/own_model.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from tidemill.errors import InvalidInput
from tidemill.learn.boosters import BOOSTERS, make_booster
from tidemill.project_training import OWN_PREFIX

# scaled: imputed, scaled, terms of texts sparse; imputed: no gaps, dense; gaps: NaN as it is, dense; text: the
# text columns alone, as terms.
Encoding = Literal["scaled", "imputed", "gaps", "text"]
MOST_ITERATIONS = 1000
# A tree of a forest sees so many rows at most: deeper trees on more are gigabytes, and no better.
ROWS_A_TREE = 100_000


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both ends possible; `log`: small ones are as likely as large ones."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


Space = Mapping[str, "list[Any] | Range"]


@dataclass(frozen=True)
class Recipe:
    """One kind of model. `make(classification, settings, rows)` gives it unfitted; `rows` are those it will see.

    `default` is the setting that is tried first, and `space` what a search varies; both hold the model's own
    parameters. `ending` is what they are where rows are many: there each fit of the search ends itself when more
    iterations do not help, and `max_iter` is not varied but found. `weights` is the parameter and value that make
    rare classes weigh as much as common ones.
    """

    name: str
    make: Callable[[bool, dict[str, Any], int], Any]
    encoding: Encoding
    space: Space
    default: dict[str, Any]
    weights: tuple[str, Any] | None = None
    ending: tuple[Space, dict[str, Any]] | None = None
    fixed: dict[str, Any] = field(default_factory=dict)


def recipe_of(name: str, classification: bool, own: Mapping[str, Recipe] | None = None) -> Recipe:
    """The recipe called `name`; `own` are those of the project's model.py.

    Raises InvalidInput for a class that model.py lacks. That a booster is installed is asked when it is made.
    """
    if name.startswith(OWN_PREFIX):
        found = (own or {}).get(name)
        if found is None:
            raise InvalidInput(
                f"There is no {name.removeprefix(OWN_PREFIX)} in model.py",
                detail=f"training.candidates names {name}; known: {', '.join(own or {}) or 'none'}",
                remedy="Put model.py with that class beside project.yaml, or mend training.candidates.",
            )
        return found
    weights = ("class_weight", "balanced")
    if name in BOOSTERS:
        booster = BOOSTERS[name]
        return Recipe(
            name,
            lambda *given: make_booster(name, *given),
            "gaps",
            _BOOSTED,
            booster.default,
            booster.weights,
        )
    if name in ("linear", "text"):
        strength = "C" if classification else "alpha"
        space = {strength: Range(1e-3, 1e2, log=True)}
        return Recipe(
            name, _linear, "scaled" if name == "linear" else "text", space, {strength: 1.0}, weights
        )
    return {
        "random_forest": Recipe(name, _forest, "imputed", _FOREST, _FOREST_DEFAULT, weights),
        "hist_gradient_boosting": Recipe(
            name, _boosting, "gaps", _HIST, _HIST_DEFAULT, weights, (_HIST_ENDING, _HIST_ENDING_DEFAULT)
        ),
        "nearest_neighbours": Recipe(name, _neighbours, "scaled", _NEAREST, _NEAREST_DEFAULT),
    }[name]


def _linear(classification: bool, settings: dict[str, Any], rows: int) -> Any:  # noqa: ARG001
    if classification:
        return LogisticRegression(**{"max_iter": 2000, **settings})
    return Ridge(**settings)


def _forest(classification: bool, settings: dict[str, Any], rows: int) -> Any:
    kind = RandomForestClassifier if classification else RandomForestRegressor
    fixed = {"n_estimators": 100, "n_jobs": 1, "max_samples": ROWS_A_TREE if rows > ROWS_A_TREE else None}
    return kind(**{**fixed, **settings})


_FOREST: Space = {
    "max_depth": [None, 6, 10, 16],
    "min_samples_leaf": [1, 2, 4, 8, 16],
    "max_features": ["sqrt", 0.3, 0.6],
}
_FOREST_DEFAULT: dict[str, Any] = {"max_depth": None, "min_samples_leaf": 1, "max_features": "sqrt"}


def _boosting(classification: bool, settings: dict[str, Any], rows: int) -> Any:  # noqa: ARG001
    kind = HistGradientBoostingClassifier if classification else HistGradientBoostingRegressor
    if not settings.get("early_stopping"):
        return kind(**{"max_iter": 100, "early_stopping": False, **settings})
    # A tenth of the rows says when to end: a slow learner gets its many trees, a quick one is not kept waiting.
    ending = {"max_iter": MOST_ITERATIONS, "validation_fraction": 0.1, "n_iter_no_change": 15}
    return kind(**{**ending, **settings})


_HIST: Space = {
    "learning_rate": Range(0.02, 0.3, log=True),
    "max_iter": Range(50, 400, log=True, whole=True),
    "max_leaf_nodes": Range(4, 63, log=True, whole=True),
    "min_samples_leaf": Range(3, 100, log=True, whole=True),
    "l2_regularization": Range(1e-3, 30.0, log=True),
    "max_features": Range(0.3, 1.0),
}
_HIST_DEFAULT: dict[str, Any] = {
    "learning_rate": 0.1,
    "max_iter": 100,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 20,
    "l2_regularization": 1e-3,
    "max_features": 1.0,
}

_HIST_ENDING: Space = {
    "learning_rate": Range(0.03, 0.3, log=True),
    "max_leaf_nodes": Range(7, 127, log=True, whole=True),
    "min_samples_leaf": Range(3, 100, log=True, whole=True),
    "l2_regularization": Range(1e-3, 30.0, log=True),
    "max_features": Range(0.3, 1.0),
    "early_stopping": [True],
}
_HIST_ENDING_DEFAULT: dict[str, Any] = {
    "early_stopping": True,
    "learning_rate": 0.1,
    "max_leaf_nodes": 31,
    "min_samples_leaf": 20,
    "l2_regularization": 1e-3,
    "max_features": 1.0,
}

# The three libraries call the same dials by other names; `learn/boosters.py` translates.
_BOOSTED: Space = {
    "learning_rate": Range(0.02, 0.3, log=True),
    "trees": Range(50, 400, log=True, whole=True),
    "depth": Range(2, 8, whole=True),
    "l2": Range(1e-3, 30.0, log=True),
    "features": Range(0.3, 1.0),
}


def _neighbours(classification: bool, settings: dict[str, Any], rows: int) -> Any:  # noqa: ARG001
    # Brute force: a tree over the rows would have to be stored as an object that no model file may hold.
    own = {name: value for name, value in settings.items() if name != "random_state"}
    kind = KNeighborsClassifier if classification else KNeighborsRegressor
    return kind(**{"algorithm": "brute", "n_jobs": 1, **own})


_NEAREST: Space = {
    "n_neighbors": Range(1, 100, log=True, whole=True),
    "weights": ["uniform", "distance"],
    "p": [1, 2],
}
_NEAREST_DEFAULT: dict[str, Any] = {"n_neighbors": 15, "weights": "uniform", "p": 2}
