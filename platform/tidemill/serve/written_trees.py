"""Small ensembles of trees written out as Python: for one row nothing that can be called from Python is quicker.

Here belongs making the function from flat trees. A split is one comparison of a local name with a constant, so a
row takes a few hundred of them; leaving Python for it would cost as much. Larger ensembles would take seconds to
write and are left to `serve/leaves.py`, as are rows with gaps, which would need a second comparison at each split.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# About a tenth of a second to write and to load.
MOST_NODES = 12_000
# Python refuses code with more brackets inside each other than 200.
DEEPEST = 150

# From an encoded row without gaps to its outputs.
Written = Callable[[list[float]], list[float]]


def written(arrays: Mapping[str, NDArray[Any]], outputs: int, width: int, *, is_mean: bool) -> Written | None:
    """The sums of flat trees (see `serve/trees.py`), added in their order; None for too large an ensemble."""
    feature, left, roots = arrays["feature"].tolist(), arrays["left"].tolist(), arrays["roots"].tolist()
    values = arrays["value"].reshape(len(feature), -1)
    if len(feature) > MOST_NODES or not np.isfinite(values).all():
        return None
    texts, depths = _leaves(values), [0] * len(feature)
    threshold = arrays["threshold"].tolist()
    # Children come after their parent, so from the end on they are there when it is written.
    for at in range(len(feature) - 1, -1, -1):
        if feature[at] >= 0:
            yes, no = left[at], left[at] + 1
            texts[at] = f"({texts[yes]} if r{feature[at]} <= {threshold[at]!r} else {texts[no]})"
            depths[at] = 1 + max(depths[yes], depths[no])
    if max(depths) > DEEPEST or np.isnan(arrays["threshold"]).any():
        return None
    columns = values.shape[1]
    sums = [f"s{place}" for place in range(outputs)]
    baseline = [0.0] * outputs if is_mean else arrays["baseline"].ravel().tolist()
    lines = ["def function(row):", f"  {', '.join(f'r{place}' for place in range(width))}, = row"]
    lines += [f"  {name} = {start!r}" for name, start in zip(sums, baseline, strict=True)]
    for number, root in enumerate(roots):
        if columns == 1:
            lines.append(f"  {sums[number % outputs]} += {texts[root]}")
        else:
            leaf = ", ".join(f"v{place}" for place in range(columns))
            lines.append(f"  {leaf} = {texts[root]}")
            lines += [f"  {name} += v{place}" for place, name in enumerate(sums)]
    divided = f" / {len(roots)}" if is_mean else ""
    lines.append(f"  return [{', '.join(name + divided for name in sums)}]")
    # A split between gaps and everything else has an infinite threshold, whose `repr` is this name.
    names: dict[str, Any] = {"inf": math.inf}
    exec("\n".join(lines), names)
    function: Written = names["function"]
    return function


def _leaves(values: NDArray[Any]) -> list[str]:
    if values.shape[1] == 1:
        return [repr(value) for value in values[:, 0].tolist()]
    return [repr(tuple(row)) for row in values.tolist()]
