"""A project's own kinds of model: classes of model.py beside project.yaml.

    class Ours(ClassifierMixin, BaseEstimator):
        encoding = "imputed"                          # or scaled, gaps, text; see learn/candidates.py
        search_space = {"depth": (2, 8), "rate": (0.01, 0.3, "log"), "kind": ["a", "b"]}

        def __init__(self, depth=3, rate=0.1, kind="a", random_state=0): ...

Here belongs loading that file and reading its classes. A bundle keeps the file's bytes beside the model and loads
those, so that a change of the file does not change a model that is there.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from sklearn.base import BaseEstimator

from tidemill.errors import InvalidInput
from tidemill.learn.candidates import Encoding, Range, Recipe
from tidemill.project_training import OWN_PREFIX

FILE = "model.py"


def model_source(project_file: Path) -> bytes | None:
    """The bytes of model.py beside `project_file`, None where there is none."""
    file = project_file.parent / FILE
    return file.read_bytes() if file.is_file() else None


@dataclass(frozen=True)
class OwnModels:
    """A loaded model.py: its bytes, the recipes by candidate name, and the full names of its classes."""

    source: bytes
    recipes: Mapping[str, Recipe]
    types: list[str]


def load_own_models(source: bytes, classification: bool) -> OwnModels:
    """Run model.py and read its classes. Raises InvalidInput with the line at fault.

    The module is called by the hash of its bytes: two states of the file can be loaded side by side.
    """
    name = f"tidemill_model_{hashlib.sha256(source).hexdigest()[:16]}"
    module = sys.modules.get(name)
    if module is None:
        module = types.ModuleType(name)
        sys.modules[name] = module
        try:
            exec(compile(source, FILE, "exec"), module.__dict__)
        except Exception as error:  # whatever the file of a user may raise
            del sys.modules[name]
            raise InvalidInput(
                "model.py does not run",
                detail=f"{FILE}{_line(error)}: {type(error).__name__}: {error}",
                remedy="Mend model.py beside project.yaml.",
            ) from error
    found = [kind for kind in vars(module).values() if inspect.isclass(kind) and kind.__module__ == name]
    estimators = [kind for kind in found if issubclass(kind, BaseEstimator)]
    recipes = {f"{OWN_PREFIX}{kind.__name__}": _recipe(kind, classification) for kind in estimators}
    return OwnModels(source, recipes, [f"{name}.{kind.__name__}" for kind in found])


def _line(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines = [frame.tb_lineno for frame in _frames(error) if frame.tb_frame.f_code.co_filename == FILE]
    return f", line {lines[-1]}" if lines else ""


def _frames(error: Exception) -> Iterator[types.TracebackType]:
    at = error.__traceback__
    while at is not None:
        yield at
        at = at.tb_next


def _recipe(kind: type, classification: bool) -> Recipe:
    name = f"{OWN_PREFIX}{kind.__name__}"
    encoding: Any = getattr(kind, "encoding", "imputed")
    if encoding not in get_args(Encoding):
        raise _wrong(name, f"its encoding is {encoding!r}, one of {', '.join(get_args(Encoding))} is meant")
    wanted = "predict_proba" if classification else "predict"
    if not callable(getattr(kind, wanted, None)):
        raise _wrong(name, f"it has no method {wanted}, which this task needs")
    known = set(inspect.signature(kind).parameters)
    space: dict[str, Any] = {}
    for dial, values in getattr(kind, "search_space", {}).items():
        if dial not in known:
            raise _wrong(name, f"search_space names {dial}, which is no parameter of __init__")
        space[dial] = _choice(name, dial, values)

    def make(_: bool, settings: dict[str, Any], rows: int) -> Any:  # noqa: ARG001
        return kind(**{dial: value for dial, value in settings.items() if dial in known})

    # The first setting tried is the class's own, as far as its defaults lie in the space.
    default = {
        dial: parameter.default
        for dial, parameter in inspect.signature(kind).parameters.items()
        if dial in space and _holds(space[dial], parameter.default)
    }
    return Recipe(name, make, encoding, space, default)


def _holds(choice: list[Any] | Range, value: Any) -> bool:
    if isinstance(choice, list):
        return value in choice
    return isinstance(value, int | float) and choice.low <= value <= choice.high


def _choice(name: str, dial: str, values: Any) -> list[Any] | Range:
    if isinstance(values, list) and values and all(isinstance(v, str | int | float | None) for v in values):
        return values
    match values:
        case (int() as low, int() as high, *rest) if low < high and rest in ([], ["log"]):
            return Range(low, high, log=bool(rest), whole=True)
        case (int() | float() as low, int() | float() as high, *rest) if low < high and rest in ([], ["log"]):
            return Range(low, high, log=bool(rest))
    raise _wrong(
        name, f'search_space[{dial!r}] is {values!r}; a list, (low, high) or (low, high, "log") is meant'
    )


def _wrong(name: str, what: str) -> InvalidInput:
    return InvalidInput(
        f"{name} cannot be a candidate", detail=f"{FILE}: {what}", remedy="Mend model.py beside project.yaml."
    )
