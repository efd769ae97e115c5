"""Homes with project files, without data: enough to assemble definitions."""

from pathlib import Path

import pytest

from tidemill.home import Home

CHURN = """\
name: churn
title: Churn
task: binary
columns:
  customer: {type: string, role: id}
  months: {type: integer, min: 0}
  plan: {type: category, values: [basic, plus]}
  left: {type: category, role: target, values: ["no", "yes"]}
labels: {positive: "yes"}
"""


def add_project(home: Home, name: str, text: str) -> Path:
    file = home.project_file(name)
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


@pytest.fixture
def churn(home: Home) -> Home:
    """A home with the project `churn`."""
    add_project(home, "churn", CHURN)
    return home


@pytest.fixture
def churn_text() -> str:
    return CHURN
