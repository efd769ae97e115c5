"""Which of many unlabelled rows are worth asking about: uncertain ones that are unlike each other.

Here belong the measures and the choice, over numbers alone. What is a candidate, and what is asked besides, is
`labels/queue.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

Numbers = NDArray[np.float64]

# Rows that compete for one place in a round: enough to choose unlike ones from, few enough to be all uncertain.
COMPETING = 5
# More rows than this are thinned by chance first: clustering them would take minutes and choose no better.
MOST_CLUSTERED = 4_000
DIMENSIONS = 50


def margin(probabilities: Numbers) -> Numbers:
    """How near the two likeliest classes are, a row: 1 where they are equal, 0 where one is certain.

    Scheffer, Decomain & Wrobel (2001), Active hidden Markov models for information extraction.
    """
    top = np.sort(probabilities, axis=1)[:, ::-1]
    second = top[:, 1] if top.shape[1] > 1 else np.zeros(len(top))
    return np.asarray(1.0 - (top[:, 0] - second), dtype=np.float64)


def spread(model: Pipeline, rows: pd.DataFrame) -> Numbers:
    """The standard deviation of a forest's trees, a row: what members of an ensemble do not agree on.

    `model` is a pipeline that ends in a fitted RandomForestRegressor.
    """
    encoded = model[:-1].transform(rows)
    dense = encoded.toarray() if sparse.issparse(encoded) else np.asarray(encoded)
    votes = np.stack([tree.predict(dense.astype(np.float32)) for tree in model[-1].estimators_])
    return np.asarray(votes.std(axis=0), dtype=np.float64)


def feature_space(model: Pipeline, rows: pd.DataFrame, seed: int) -> Numbers:
    """The rows as points: the encoder of an unfitted linear pipeline, fitted here; wide ones by truncated SVD."""
    encoded = model[:-1].fit_transform(rows)
    if encoded.shape[1] > DIMENSIONS:
        wide = encoded if sparse.issparse(encoded) else np.asarray(encoded)
        size = min(DIMENSIONS, wide.shape[1] - 1, max(wide.shape[0] - 1, 1))
        return np.asarray(TruncatedSVD(size, random_state=seed).fit_transform(wide), dtype=np.float64)
    return np.asarray(encoded.toarray() if sparse.issparse(encoded) else encoded, dtype=np.float64)


def choose(space: Numbers, uncertainty: Numbers | None, budget: int, seed: int) -> list[int]:
    """The rows of `space` (points, one a candidate) to ask about, up to `budget`, the most uncertain first.

    Of the most uncertain, five for each place, one is taken from each of `budget` clusters, whose centres lean to
    the uncertain: Zhdanov (2019), Diverse mini-batch active learning. Without `uncertainty`, as before a first
    model, the clusters are of all rows, so that the first labels cover the data.
    """
    count = len(space)
    if count <= budget:
        return _by_uncertainty(range(count), uncertainty)
    rng = np.random.default_rng(seed)
    if uncertainty is None:
        pool = rng.permutation(count)[: max(MOST_CLUSTERED, budget)]
        weights = None
    else:
        # Equal uncertainties are ordered by chance, or the table's first rows would always win.
        order = np.lexsort((rng.random(count), -uncertainty))
        pool = order[: min(COMPETING * budget, max(MOST_CLUSTERED, budget))]
        weights = np.maximum(uncertainty[pool], 1e-9)
    points = space[pool]
    with threadpool_limits(limits=1):
        found = KMeans(budget, n_init=1, max_iter=10, random_state=seed).fit(points, sample_weight=weights)
    taken: list[int] = []
    distance = found.transform(points)
    for cluster in range(budget):
        members = np.flatnonzero(found.labels_ == cluster)
        if len(members):
            taken.append(int(pool[members[distance[members, cluster].argmin()]]))
    # Equal points make fewer clusters than asked for: the rest are the most uncertain, or come by chance.
    rest = [int(index) for index in pool if int(index) not in set(taken)]
    taken += rest[: budget - len(taken)]
    return _by_uncertainty(taken, uncertainty)


def _by_uncertainty(rows: Sequence[int] | range, uncertainty: Numbers | None) -> list[int]:
    if uncertainty is None:
        return list(rows)
    measured: Any = uncertainty
    return sorted(rows, key=lambda row: -float(measured[row]))
