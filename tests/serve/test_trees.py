"""Every way to walk trees gives the same sums to the last bit: written out, by onnxruntime, as tuples, in numpy."""

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

from tidemill.learn import leaf_graph
from tidemill.learn.compiling import _boosting, _forest
from tidemill.serve import written_trees
from tidemill.serve.leaves import ARRAY
from tidemill.serve.trees import Trees

WIDTH = 6
MODELS: dict[str, Any] = {
    "forest of two": (RandomForestClassifier(9, random_state=1), 2),
    "forest of three": (RandomForestClassifier(9, random_state=1), 3),
    "forest of numbers": (RandomForestRegressor(9, random_state=1), 0),
    "one tree": (RandomForestClassifier(1, random_state=1), 2),
    "boosting of two": (HistGradientBoostingClassifier(max_iter=9), 2),
    "boosting of three": (HistGradientBoostingClassifier(max_iter=9), 3),
    "boosting of numbers": (HistGradientBoostingRegressor(max_iter=9), 0),
}


@pytest.fixture(scope="module", params=MODELS)
def fitted(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """Flat trees, and how to open them."""
    model, classes = MODELS[request.param]
    random = np.random.default_rng(5)
    rows = random.normal(0, 1, (300, WIDTH))
    rows[random.random(rows.shape) < 0.1] = np.nan
    signal = np.nansum(rows[:, :3], axis=1)
    truth = signal if classes == 0 else np.digitize(signal, np.linspace(-0.5, 0.5, classes - 1))
    arrays: dict[str, Any] = {}
    is_forest = request.param.startswith(("forest", "one"))
    document = (_forest if is_forest else _boosting)(model.fit(rows, truth), arrays)
    return arrays, {"outputs": document["outputs"], "is_mean": is_forest, "is_float32": is_forest}


def opened(arrays: dict[str, Any], how: dict[str, Any]) -> Trees:
    return Trees(arrays, how["outputs"], WIDTH, is_mean=how["is_mean"], is_float32=how["is_float32"])


def test_all_ways_agree(
    fitted: tuple[dict[str, Any], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays, how = fitted
    both = opened(arrays, how)
    assert both._written is not None
    assert both._finder is not None
    monkeypatch.setattr(written_trees, "MOST_NODES", 0)
    native = opened(arrays, how)
    assert native._written is None
    assert native._finder is not None
    plain = opened({name: value for name, value in arrays.items() if name != ARRAY}, how)
    assert plain._finder is None
    assert plain._nested is not None
    random = np.random.default_rng(6)
    rows = random.normal(0, 2, (60, WIDTH))
    rows[20:][random.random((40, WIDTH)) < 0.2] = np.nan
    rows[40:] = np.nan_to_num(random.choice(arrays["threshold"], (20, WIDTH)), posinf=1e38)
    wanted = plain.many(rows).tolist()
    assert native.many(rows).tolist() == wanted
    for trees in (both, native, plain):
        assert [trees.one(row) for row in rows.tolist()] == wanted


def test_a_graph_that_finds_other_leaves_is_not_used(
    fitted: tuple[dict[str, Any], dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    arrays, how = fitted
    other = {**arrays, "threshold": np.where(arrays["feature"] >= 0, arrays["threshold"] + 1, np.inf)}
    assert opened({**arrays, **leaf_graph.leaf_graph(other)}, how)._finder is None
    assert "finds other leaves" in caplog.text


@pytest.mark.parametrize("graph", [b"", b"no graph"])
def test_a_graph_that_is_none_is_not_used(
    fitted: tuple[dict[str, Any], dict[str, Any]], caplog: pytest.LogCaptureFixture, graph: bytes
) -> None:
    arrays, how = fitted
    trees = opened({**arrays, ARRAY: np.frombuffer(graph, dtype=np.uint8)}, how)
    assert trees._finder is None
    assert "walked in Python" in caplog.text
