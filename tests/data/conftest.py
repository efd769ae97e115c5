"""A small project and its files, for the tests of data."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill.home import Home
from tidemill.project import Project
from tidemill.store.state import State, open_state

CONTRACT = """
name: shop
task: binary
columns:
  id: {type: string, role: id}
  age: {type: integer, nulls: true, min: 0, max: 120}
  spend: {type: float, min: 0}
  plan: {type: category, nulls: false, values: [basic, plus]}
  member: {type: boolean}
  seen: {type: date}
  churn: {type: category, role: target, values: ['no', 'yes']}
rejects: {max_share: 0.5}
"""
HEADER = "id,age,spend,plan,member,seen,churn"


@pytest.fixture
def state(home: Home) -> State:
    return open_state(home)


@pytest.fixture
def shop(home: Home) -> Project:
    """The project `shop`, its file written and its inbox made."""
    file = home.project_file("shop")
    file.parent.mkdir(parents=True)
    file.write_text(CONTRACT)
    home.inbox("shop").mkdir(parents=True)
    return Project.load(file)


@pytest.fixture
def drop(home: Home, shop: Project) -> Callable[..., Path]:  # noqa: ARG001 (makes the inbox)
    """Put a file into the inbox of `shop`, an hour old: its header and the given lines."""

    def put(name: str, *lines: str, header: str = HEADER) -> Path:
        path = home.inbox("shop") / name
        path.write_text("\n".join([header, *lines]) + "\n")
        past = time.time() - 3600.0
        os.utime(path, (past, past))
        return path

    return put
