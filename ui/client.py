"""The dashboard's way to the API: where it is, one shared client, and nothing about screens."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import streamlit as st

from tidemill.client import ApiError, Client

DEFAULT_URL = "http://127.0.0.1:8700"


@dataclass(frozen=True)
class Places:
    """Where the API and Dagster's own pages are; `dagster_url` is None when nobody said."""

    api_url: str
    api_key: str = field(repr=False)
    dagster_url: str | None


def places() -> Places:
    """Read the environment, which the supervisor sets. The one place of the dashboard that does."""
    port = os.environ.get("TIDEMILL_DAGSTER_PORT")
    host = os.environ.get("TIDEMILL_HOST", "127.0.0.1")
    return Places(
        api_url=os.environ.get("TIDEMILL_API_URL", DEFAULT_URL),
        api_key=os.environ.get("TIDEMILL_API_KEY", ""),
        dagster_url=f"http://{host}:{port}" if port else None,
    )


def api() -> Client:
    """The client that all sessions share. Raises ApiError when the dashboard was started without a key."""
    found = places()
    if not found.api_key:
        problem = {
            "title": "The dashboard has no key for the API",
            "detail": "TIDEMILL_API_KEY is not set.",
            "remedy": "Start it with `./tidemill up`, which hands it one.",
        }
        raise ApiError(401, problem)
    return _connect(found.api_url, found.api_key)


@st.cache_resource(show_spinner=False, max_entries=4, on_release=Client.close)
def _connect(url: str, key: str) -> Client:
    return Client(url, key)


def forget_clients() -> None:
    """Close the shared clients."""
    _connect.clear()
