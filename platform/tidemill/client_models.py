"""Models sent, shown, tried beside the live one and put in its place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

from tidemill.client_transport import Transport, at, pieces
from tidemill.client_types import ComparisonInfo, DeploymentInfo, MlflowLink, ModelDetail, ModelImport, Models


class ModelRoutes(Transport):
    """What a client does with models and with what answers."""

    def mlflow_link(self) -> MlflowLink:
        """A link to MLflow's pages that needs no key; it works once, within a minute. Their server is started."""
        return cast(MlflowLink, self._post("/v1/mlflow/link", None))

    def models(self, project: str) -> Models:
        """All models, newest first, and the version that answers now."""
        return cast(Models, self._get(at(project, "models")))

    def model_card(self, project: str, version: int, form: Literal["html", "markdown"] = "html") -> str:
        """The card of a model, as one page that needs nothing else, or as Markdown."""
        return self._checked("GET", at(project, "models", version, "card"), params={"form": form}).text

    def model(self, project: str, version: int) -> ModelDetail:
        return cast(ModelDetail, self._get(at(project, "models", version)))

    def import_model(
        self,
        project: str,
        file: str | Path,
        *,
        columns: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
    ) -> ModelImport:
        """Send a model made elsewhere (ONNX, skops, LightGBM, XGBoost, CatBoost); `model_import` tells what becomes
        of it. `columns` and `classes` are their order in the model, where the file does not say."""
        params = {"name": Path(file).name, "columns": list(columns or ()), "classes": list(classes or ())}
        with Path(file).open("rb") as handle:
            headers = {"Content-Type": "application/octet-stream"}
            path = at(project, "models", "imports")
            found = self._json("POST", path, params=params, content=pieces(handle), headers=headers)
        return cast(ModelImport, found)

    def model_imports(self, project: str) -> list[ModelImport]:
        """The model files sent or dropped, newest first, and what became of them."""
        return cast("list[ModelImport]", self._get(at(project, "models", "imports"))["imports"])

    def model_import(self, project: str, import_id: str) -> ModelImport:
        return cast(ModelImport, self._get(at(project, "models", "imports", import_id)))

    def deployment(self, project: str) -> DeploymentInfo:
        return cast(DeploymentInfo, self._get(at(project, "deployment")))

    def comparison(self, project: str, since: int | None = None) -> ComparisonInfo:
        """What the champion and the challenger said of the same records, in the stage that revision `since` began
        (the newest). 404 when there was none."""
        found = self._get(at(project, "deployment", "comparison"), **({"since": since} if since else {}))
        return cast(ComparisonInfo, found)

    def deploy(
        self,
        project: str,
        version: int,
        reason: str,
        expected_revision: int | None = None,
        *,
        despite_gate: bool = False,
    ) -> DeploymentInfo:
        """Make `version` answer. With `expected_revision` only if nobody changed the deployment since.

        A model that has not passed its gate is refused (409), unless `despite_gate`.
        """
        body = {"reason": reason, "expected_revision": expected_revision, "despite_gate": despite_gate}
        return cast(DeploymentInfo, self._post(at(project, "models", version, "deploy"), body))

    def rollback(self, project: str, reason: str, expected_revision: int | None = None) -> DeploymentInfo:
        """Put the previous model back; whatever challenger there was is so no more."""
        body = {"reason": reason, "expected_revision": expected_revision}
        return cast(DeploymentInfo, self._post(at(project, "rollback"), body))

    def shadow(
        self, project: str, version: int, reason: str, expected_revision: int | None = None
    ) -> DeploymentInfo:
        """Ask `version` beside the live model, for comparison; it answers nobody."""
        body = {"reason": reason, "expected_revision": expected_revision}
        return cast(DeploymentInfo, self._post(at(project, "models", version, "shadow"), body))

    def canary(
        self,
        project: str,
        version: int,
        reason: str,
        expected_revision: int | None = None,
        *,
        percent: float | None = None,
        despite_gate: bool = False,
    ) -> DeploymentInfo:
        """Let `version` answer `percent` of the entities (project.yaml's when None), always the same ones."""
        body = {
            "reason": reason,
            "expected_revision": expected_revision,
            "percent": percent,
            "despite_gate": despite_gate,
        }
        return cast(DeploymentInfo, self._post(at(project, "models", version, "canary"), body))

    def pause(self, project: str, reason: str, expected_revision: int | None = None) -> DeploymentInfo:
        """Ask the challenger nothing until `resume`."""
        body = {"reason": reason, "expected_revision": expected_revision}
        return cast(DeploymentInfo, self._post(at(project, "deployment", "pause"), body))

    def resume(self, project: str, reason: str, expected_revision: int | None = None) -> DeploymentInfo:
        body = {"reason": reason, "expected_revision": expected_revision}
        return cast(DeploymentInfo, self._post(at(project, "deployment", "resume"), body))

    def withdraw(self, project: str, reason: str, expected_revision: int | None = None) -> DeploymentInfo:
        """End the challenger: the live model answers everyone."""
        body = {"reason": reason, "expected_revision": expected_revision}
        return cast(DeploymentInfo, self._post(at(project, "deployment", "withdraw"), body))
