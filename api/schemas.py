"""Shapes of the bodies that come in. What goes out is typed in `tidemill/client_types.py`, for both sides."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Body(BaseModel):
    """A body: a field nobody knows is a fault, not noise."""

    model_config = ConfigDict(extra="forbid")


class TrainingCreate(Body):
    reason: str = Field("", max_length=500, description="Why; shown beside the run.")
    trigger: Literal["api", "command-line", "dashboard", "git-push"] = Field(
        "api", description="What asks for it; shown beside the run."
    )


class TrainingEnd(Body):
    reason: str = Field("", max_length=500, description="Why; shown beside the run.")


class Change(Body):
    """Any change of a deployment."""

    reason: str = Field(min_length=1, max_length=500, description="Why; kept in the history.")
    expected_revision: int | None = Field(
        None, ge=0, description="Change it only if the deployment is still at this revision."
    )


class DeploymentCreate(Change):
    despite_gate: bool = Field(False, description="Deploy a model that has not passed its gate.")


class ShadowCreate(Change):
    pass


class CanaryCreate(Change):
    percent: float | None = Field(
        None, gt=0, le=100, description="Share of the entities; that of project.yaml when unset."
    )
    despite_gate: bool = Field(False, description="Let a model answer that has not passed its gate.")


class TruthCreate(Body):
    prediction_id: str | None = Field(None, max_length=64, description="The id of the answer.")
    entity_id: str | None = Field(None, max_length=1000, description="The value of the project's id column.")
    label: bool | int | float | str = Field(description="The class, or the number of a regression.")
    observed_at: str | None = Field(None, max_length=40, description="When it became known, ISO 8601.")
    source: str | None = Field(None, max_length=200, description="Who says so.")


class RoundCreate(Body):
    budget: int | None = Field(None, ge=1, le=100_000, description="Rows; that of project.yaml when unset.")
    strategy: Literal["uncertain", "random"] | None = Field(
        None, description="How rows are chosen; that of project.yaml when unset."
    )


class AnswerCreate(Body):
    row: str = Field(min_length=1, max_length=1000, description="The row of the task.")
    label: bool | int | float | str | None = Field(description="The class or number; null skips the row.")
    annotator: str = Field(min_length=1, max_length=100, description="Who answers.")
    lead_seconds: float | None = Field(None, ge=0, le=86_400, description="How long it took.")


class UndoCreate(Body):
    annotator: str = Field(min_length=1, max_length=100, description="Whose last answer is taken back.")


def body_schema(model: type[BaseModel] | dict[str, Any], *examples: tuple[str, Any]) -> dict[str, Any]:
    """OpenAPI of a request body that the route reads by itself (`api/body.py`)."""
    schema = model if isinstance(model, dict) else inlined(model.model_json_schema())
    shown = {title: {"summary": title, "value": value} for title, value in examples}
    content = {"application/json": {"schema": schema, **({"examples": shown} if shown else {})}}
    needed = isinstance(model, dict) or bool(schema.get("required"))
    return {"requestBody": {"required": needed, "content": content}}


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` without references of its own."""
    parts = schema.pop("$defs", {})

    def follow(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return follow(parts[node["$ref"].rpartition("/")[2]])
            return {name: follow(value) for name, value in node.items()}
        return [follow(value) for value in node] if isinstance(node, list) else node

    return dict(follow(schema))
