"""The compiled scorer: a model as tables, weights and flat trees, run by plain Python and numpy.

Here belongs the form (`scorer.npz` beside the bundle: arrays and one JSON document, nothing pickled) and running
it. One record goes through plain Python, which is faster than numpy for one; many go through matrices. Making the
form is in `learn/compiling.py`; neither pandas nor scikit-learn may be imported here (docs/adr/0010).
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import Corrupt
from tidemill.learn.bundle_info import checked_bytes, load_info
from tidemill.project import Project
from tidemill.serve.calibration import Calibration, OneVsRest
from tidemill.serve.encoding import column
from tidemill.serve.folded import Function, row_function, sums_function
from tidemill.serve.scorer import Score, Scorer, Values, Verdict
from tidemill.serve.trees import Trees

if TYPE_CHECKING:
    from tidemill.serve.explain import Explainer, Explanation

FORMAT = 1
FILE = "scorer.npz"
# Rows that are scored together: bounds the memory of a batch, whose matrices are rows x trees.
CHUNK = 256


@dataclass(frozen=True)
class Form:
    """A compiled model as data. `document` is JSON; `arrays` are plain numbers."""

    document: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    def to_bytes(self) -> bytes:
        """As an .npz file, compressed."""
        text = np.frombuffer(json.dumps(self.document).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        # Names of arrays come from column names, which may be any text: they are numbered instead.
        names = list(self.arrays)
        index = np.frombuffer(json.dumps(names).encode(), dtype=np.uint8)
        numbered = {f"a{place}": self.arrays[name] for place, name in enumerate(names)}
        np.savez_compressed(buffer, allow_pickle=False, document=text, names=index, **numbered)
        return buffer.getvalue()


def read_form(data: bytes, what: str) -> Form:
    """The form in the bytes of a scorer.npz. Raises Corrupt, which names `what`."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            document = json.loads(file["document"].tobytes())
            names = json.loads(file["names"].tobytes())
            arrays = {name: file[f"a{place}"] for place, name in enumerate(names)}
        if document["format"] != FORMAT:
            raise ValueError(f"the form is number {document['format']}, this version reads {FORMAT}")
    except (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(what, error) from error
    return Form(document, arrays)


class CompiledModel:
    """A form ready to answer. Classification gives probabilities in the order of `classes`, regression one number.

    Raises Corrupt, naming `what`, when the form does not hold together. Safe to use from several threads.
    """

    def __init__(self, form: Form, what: str) -> None:
        try:
            document, arrays = form.document, form.arrays
            self.classes: list[str] | None = document["classes"]
            self._width = int(document["width"])
            self._columns = [column(entry, arrays) for entry in document["columns"]]
            model = document["model"]
            self._link: str = model["link"]
            calibration = document.get("calibration")
            self._calibration: Calibration | None = None
            self._of_classes: OneVsRest | None = None
            if calibration is not None and "maps" in calibration:
                self._of_classes = OneVsRest(calibration)
            elif calibration is not None:
                self._calibration, self._calibrated = Calibration(calibration), int(calibration["at"])
            self._trees: Trees | None = None
            self._sums: Function | None = None
            self._row: Function | None = None
            if model["kind"] == "linear":
                coef, intercept = arrays["coef"], arrays["intercept"]
                if coef.shape != (len(intercept), self._width):
                    raise ValueError("the weights do not fit the columns")
                self._sums = sums_function(document["columns"], arrays, coef.tolist(), intercept.tolist())
            else:
                is_forest = model["kind"] == "forest"
                self._row = row_function(document["columns"], self._width)
                self._trees = Trees(
                    arrays,
                    int(model["outputs"]),
                    self._width,
                    is_mean=is_forest,
                    # XGBoost compares in float32 as well, and says so.
                    is_float32=is_forest or bool(model.get("float32")),
                )
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(what, error) from error

    def one(self, record: Values) -> list[float]:
        """Probabilities, or one number, of one record."""
        if self._sums is not None:
            return self._answer(self._sums(record))
        assert self._trees is not None
        return self._answer(self._trees.one(self.row(record)))

    def row(self, record: Values) -> list[float]:
        """One record as the numbers that trees look at."""
        if self._row is not None:
            return self._row(record)
        places: list[int] = []
        numbers: list[float] = []
        for each in self._columns:
            each.put(record[each.name], places, numbers)
        row = [0.0] * self._width
        for place, number in zip(places, numbers, strict=True):
            row[place] = number
        return row

    def matrix(self, records: Sequence[Values]) -> NDArray[np.float64]:
        """The same for many records."""
        if self._row is not None:
            return np.array([self._row(record) for record in records], dtype=np.float64).reshape(
                len(records), self._width
            )
        matrix = np.zeros((len(records), self._width))
        for each in self._columns:
            each.fill([record[each.name] for record in records], matrix)
        return matrix

    def many(self, records: Sequence[Values]) -> list[list[float]]:
        """The answers for many records; trees take them a matrix at a time."""
        if self._sums is not None:
            return [self._answer(self._sums(record)) for record in records]
        assert self._trees is not None
        found: list[list[float]] = []
        for start in range(0, len(records), CHUNK):
            matrix = self.matrix(records[start : start + CHUNK])
            found += [self._answer(row) for row in self._trees.many(matrix).tolist()]
        return found

    def _answer(self, raw: list[float]) -> list[float]:
        answer = _linked(raw, self._link)
        if self._of_classes is not None:
            return self._of_classes.one(answer)
        if self._calibration is None:
            return answer
        own = self._calibration.one(answer[self._calibrated])
        return [1.0 - own, own] if self._calibrated == 1 else [own, 1.0 - own]


class CompiledScorer(Scorer):
    """Runs the compiled form of a bundle. Raises NotFound or Corrupt when it cannot be loaded."""

    def __init__(self, models_dir: Path, version: int, project: Project) -> None:
        info = load_info(models_dir, version)
        what = f"{info.project} version {version}"
        # A bundle of which any model file is damaged is not to be deployed, whichever file would answer.
        for name in (name for name in info.files if name.startswith("model.")):
            checked_bytes(info, name, what)
        self.version = version
        self.model = CompiledModel(read_form(checked_bytes(info, FILE, what), what), what)
        self.classes = self.model.classes
        self.verdict = Verdict(self.classes, info, project)
        self._info, self._what = info, what
        self._explainer: Explainer | None = None

    def score(self, records: Sequence[Values]) -> list[Score]:
        return [self.verdict(row) for row in self.rows(records)]

    def rows(self, records: Sequence[Values]) -> list[list[float]]:
        """What the model says of each record: probabilities in the order of the classes, or one number."""
        if len(records) <= 2:
            return [self.model.one(record) for record in records]
        return self.model.many(records)

    def explain(self, records: Sequence[Values], scores: Sequence[Score]) -> list[Explanation]:
        """What explanations need besides is read from the bundle with the first of them."""
        if self._explainer is None:
            from tidemill.serve.explain import Explainer

            data = checked_bytes(self._info, FILE, self._what)
            self._explainer = Explainer(read_form(data, self._what), self._what)
        return self._explainer.explain(records, [self.verdict.explained(score) for score in scores])


def _linked(raw: list[float], link: str) -> list[float]:
    """Probabilities from raw sums, as scikit-learn makes them: logistic of two classes, softmax of more."""
    if link == "logistic":
        probability = _logistic(raw[0])
        return [1.0 - probability, probability]
    if link == "softmax":
        largest = max(raw)
        powers = [math.exp(value - largest) for value in raw]
        total = sum(powers)
        return [power / total for power in powers]
    return raw


def _logistic(value: float) -> float:
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    if value < -745.0:
        return 0.0  # exp underflows there
    power = math.exp(value)
    return power / (1.0 + power)


def _unreadable(what: str, error: Exception) -> Corrupt:
    return Corrupt(
        f"The compiled scorer of {what} is refused",
        detail=f"{FILE} does not hold together: {error}",
        remedy="Restore the bundle's folder from a backup, or train again.",
    )
