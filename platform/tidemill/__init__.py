"""Tidemill's core: the loop from a file to a monitored model, without any framework around it.

Here belong plain functions and classes over files, tables and parameters. Dagster, FastAPI, Streamlit and
MLflow do not: they live in `assets/`, `resources/`, `api/` and `ui/`, which import this package and never the
other way round.
"""

__version__ = "0.1.0"
