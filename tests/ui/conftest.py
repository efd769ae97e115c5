"""The dashboard's pages run against a small API over HTTP."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from ui import client

APP = Path(__file__).parents[2] / "ui" / "app.py"


def _load_fake_api() -> ModuleType:
    # importlib mode puts no test folder on the path; the module is shared by name.
    if "fake_api" not in sys.modules:
        spec = importlib.util.spec_from_file_location("fake_api", Path(__file__).with_name("fake_api.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["fake_api"] = module
        spec.loader.exec_module(module)
    return sys.modules["fake_api"]


_load_fake_api()

from fake_api import KEY, FakeApi, served  # noqa: E402


@pytest.fixture(autouse=True)
def no_caches() -> Iterator[None]:
    """No client and no data of another test."""
    st.cache_data.clear()
    yield
    client.forget_clients()
    st.cache_data.clear()


@pytest.fixture
def fake_api() -> FakeApi:
    return FakeApi.filled()


@pytest.fixture
def api_url(fake_api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with served(fake_api) as url:
        monkeypatch.setenv("TIDEMILL_API_URL", url)
        monkeypatch.setenv("TIDEMILL_API_KEY", KEY)
        monkeypatch.setenv("TIDEMILL_DAGSTER_PORT", "8702")
        yield url


@pytest.fixture
def open_page(api_url: str) -> Callable[..., AppTest]:  # noqa: ARG001 - it serves
    """Open a page the way a person does: the entry first, then the page."""

    def opened(name: str, project: str | None = None) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=20)
        if project is not None:
            app.query_params["project"] = project
        app.run()
        return app if name == "overview" else app.switch_page(f"app_pages/{name}.py").run()

    return opened


@pytest.fixture
def text_of() -> Callable[[AppTest], str]:
    """All that a page says, as one text."""

    def said(app: AppTest) -> str:
        kinds = (
            "title",
            "header",
            "subheader",
            "markdown",
            "caption",
            "error",
            "warning",
            "info",
            "success",
            "code",
        )
        parts: list[Any] = [element.value for kind in kinds for element in getattr(app, kind)]
        parts += [f"{element.label} {element.value}" for element in app.metric]
        parts += [element.label for element in app.button]
        parts += [element.value.to_csv() for element in app.dataframe]
        return "\n".join(str(part) for part in parts)

    return said
