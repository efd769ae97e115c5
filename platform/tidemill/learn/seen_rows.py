"""Which rows an earlier version learnt from: what it says of them is not what it would say of new ones.

Here belongs reading that from its bundle. What follows from it for a stacked or a continued model is in
`learn/stacking.py` and `learn/warm_start.py`.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tidemill.errors import InvalidInput
from tidemill.learn.bundle import load_reference
from tidemill.learn.features import TEST


def seen_by(models_dir: Path, version: int, features: pd.DataFrame) -> pd.DataFrame:
    """`_row`, `_score` (out-of-fold, may be empty) of the rows that trained `version`. Raises NotFound.

    Raises InvalidInput where a test row of `features` is among them: nothing could then be measured on these.
    """
    seen = load_reference(models_dir, version)[["_row", "_score"]]
    seen = seen.assign(_row=seen["_row"].astype(str))
    test = features.loc[features["_split"] == TEST, "_row"].astype(str)
    both = test[test.isin(set(seen["_row"]))]
    if len(both):
        raise InvalidInput(
            f"Model {version} learnt from rows that are held out now",
            detail=f"{len(both)} of {len(test)} test rows were train rows of it, such as {both.iloc[0]!r}: what is "
            f"built on it would be judged on rows it knows",
            remedy="Give training.split and training.seed the values they had then, or take a version trained "
            "since.",
        )
    return seen
