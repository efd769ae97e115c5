"""What a fit had to say that is no failure, as notes for the model card.

Here belongs turning warnings of libraries into notes. What failed is told by `learn/search.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from sklearn.exceptions import ConvergenceWarning


@contextmanager
def notes_of_warnings() -> Iterator[list[str]]:
    """Turn scikit-learn's warning of an unfinished fit into a note on the candidate."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        yield notes
    unfinished = 0
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            unfinished += 1
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if unfinished:
        notes.append(f"{unfinished} fits stopped before they converged")
