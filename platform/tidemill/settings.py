"""The settings of one box, read and checked at one point.

Settings come from environment variables that start with TIDEMILL_; nothing else in the code reads the
environment. What describes a use case belongs in project.yaml, not here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tidemill.errors import InvalidInput

PREFIX = "TIDEMILL_"

Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseModel):
    """Every setting with its default; the variable's name is the field's in capitals after TIDEMILL_."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address the services listen on.")
    api_port: Port | None = Field(None, description="Port of the API; chosen free and remembered when unset.")
    api_workers: int = Field(
        1, ge=1, le=64, description="Processes of the API that share its port; one where people label."
    )
    ui_port: Port | None = Field(None, description="Port of the dashboard; chosen free when unset.")
    dagster_port: Port | None = Field(None, description="Port of Dagster's UI; chosen free when unset.")
    code_port: Port | None = Field(None, description="Port of Dagster's code server; chosen free when unset.")
    label_studio_port: Port | None = Field(None, description="Port of Label Studio; chosen free when unset.")
    database_url: str | None = Field(
        None, description="SQLAlchemy URL of the control database; SQLite in the home when unset."
    )
    max_upload_bytes: int = Field(1_073_741_824, ge=1024, description="Largest file the API takes, in bytes.")
    max_fetch_bytes: int = Field(
        10_737_418_240, ge=1024, description="Largest file that is taken from a source, in bytes."
    )
    source_timeout: int = Field(
        10, ge=1, le=300, description="Seconds that a source may leave a question unanswered."
    )
    max_unpacked_bytes: int = Field(
        21_474_836_480, ge=1024, description="Most bytes that a gzip or zip may unpack to."
    )
    max_open_uploads: int = Field(
        20, ge=1, description="Most uploads in parts that a project has open at once."
    )
    max_open_upload_bytes: int = Field(
        10_737_418_240, ge=1024, description="Most bytes that a project's open uploads announce together."
    )
    upload_idle_hours: float = Field(
        24.0, gt=0, le=8760, description="Hours after which an upload that got no more bytes is forgotten."
    )
    max_body_bytes: int = Field(8_388_608, ge=1024, description="Largest JSON body the API takes, in bytes.")
    max_records: int = Field(10_000, ge=1, description="Most records in one prediction request.")
    max_sent_rows: int = Field(
        1_000_000, ge=1, description="Most rows of data in one request to .../records."
    )
    segment_bytes: int = Field(
        67_108_864, ge=4096, description="Size at which a log segment is closed, in bytes."
    )
    requests_per_second: float | None = Field(
        None,
        gt=0,
        description="Most requests a second by a key without a rate of its own; no limit when unset.",
    )
    requests_at_once: int = Field(
        64, ge=1, le=10_000, description="Requests the API answers at once; more get 429 with Retry-After."
    )
    access_log: bool = Field(False, description="Whether each request is told in the API's log, as JSON.")
    cors_origins: str = Field(
        "",
        description="Origins whose pages may call the API from a browser, with commas between; none when unset.",
    )
    oidc_issuer: str | None = Field(
        None, pattern=r"^https?://", description="OpenID Connect issuer whose tokens are taken beside keys."
    )
    oidc_audience: str = Field("tidemill", min_length=1, description="What its tokens must be made for.")
    oidc_roles_claim: str = Field(
        "roles", min_length=1, description="Claim with roles such as tidemill-viewer; dots lead into levels."
    )
    oidc_projects_claim: str = Field(
        "tidemill_projects",
        min_length=1,
        description="Claim with the projects that are reached; all without it.",
    )
    concurrent_runs: int = Field(2, ge=1, le=64, description="Dagster runs at once; more wait their turn.")
    concurrent_trainings: int = Field(
        1, ge=1, le=64, description="Trainings of one project at once; more wait their turn."
    )
    idempotency_hours: float = Field(
        24.0, gt=0, le=8760, description="Hours for which the answer to an Idempotency-Key is kept."
    )
    duckdb_memory: str = Field(
        "512MB", pattern=r"^\d+(MB|GB)$", description="Memory one DuckDB query may use."
    )


# Variables with the same prefix that are not settings: where the home is, and what the supervisor hands down.
NOT_SETTINGS = {"TIDEMILL_HOME", "TIDEMILL_HOME_ID", "TIDEMILL_API_URL", "TIDEMILL_API_KEY"}


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from `environ` (default: the process's). Raises InvalidInput naming each wrong variable."""
    environ = os.environ if environ is None else environ
    given = {
        key.removeprefix(PREFIX).lower(): value
        for key, value in environ.items()
        if key.startswith(PREFIX) and key not in NOT_SETTINGS and value != ""
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        faults = [
            f"{PREFIX}{'.'.join(str(part) for part in fault['loc']).upper()}: "
            + ("there is no such setting" if fault["type"] == "extra_forbidden" else fault["msg"])
            for fault in error.errors(include_input=False, include_url=False)
        ]
        raise InvalidInput(
            "A setting in the environment is wrong",
            detail="\n".join(faults),
            remedy="Mend or unset the variable; docs/settings.md lists them all.",
        ) from error
