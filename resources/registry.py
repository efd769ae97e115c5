"""MLflow's model registry as a mirror of what Tidemill deploys: a registered model a project, a version a bundle.

The bundles and the control database are the truth; here they are written down for whoever looks in MLflow.
Nothing reads an alias from there to decide what answers: MLflow's aliases have no compare-and-set. Looking whether
the mirror is behind takes no MLflow, so a sensor can do so every few seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.tracking import Tracking
from tidemill.home import Home
from tidemill.serve.deployment import Deployment, current
from tidemill.store.durable import replace_bytes
from tidemill.store.state import State

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from tidemill.learn.bundle_info import BundleInfo

# Aliases that are ours to move; any other alias is somebody's own and left alone.
ALIASES = ("champion", "previous", "challenger", "shadow", "canary", "paused")
_PAGE = 1000


@dataclass(frozen=True)
class Mirrored:
    """What the registry holds after `reconcile`: MLflow's version of each bundle, and the bundle of each alias."""

    name: str
    versions: dict[int, str]
    aliases: dict[str, int]


def registered_name(project: str) -> str:
    """The name of a project's registered model, as in `models:/tidemill-churn@champion`."""
    return f"tidemill-{project}"


def aliases_of(live: Deployment | None) -> dict[str, int]:
    """Which bundle each of ALIASES should name by the deployment; those it does not have are absent.

    A challenger has the alias `challenger` and that of its stage: shadow, canary, or paused.
    """
    if live is None:
        return {}
    found = {"champion": live.champion}
    if live.previous is not None:
        found["previous"] = live.previous
    if (its := live.challenger) is not None:
        found |= {"challenger": its.version, "paused" if its.paused else its.stage: its.version}
    return found


def behind_at(home: Home, state: State, project: str) -> str | None:
    """A mark of what the registry does not say yet, or None when it is up to date.

    It is behind when a model was judged or the deployment changed since `reconcile`. A bundle without a verdict
    does not count yet: the training that made it goes on.
    """
    seen = _seen(home, state, project)
    if not (seen["judged"] or seen["revision"]) or seen == _written(home, project):
        return None
    return json.dumps(seen)


def reconcile(tracking: Tracking, state: State, project: str) -> Mirrored:
    """Make the registered model of `project` say what its bundles and its deployment are; again changes nothing.

    Raises NotReady when another process holds MLflow's database for too long, Corrupt for an unreadable bundle.
    """
    from tidemill.learn.bundle_info import list_bundles

    home = Home.find(tracking.root)
    with tracking.exclusive() as client:
        # Read before the work: what changes meanwhile is seen as behind afterwards.
        seen = _seen(home, state, project)
        live = current(state, project)
        bundles = list_bundles(home.models(project))
        name = registered_name(project)
        _ensure_model(client, name, project)
        versions = _known(client, name)
        for info in bundles:
            if info.version not in versions:
                versions[info.version] = _register(client, name, info)
        _describe(client, name, bundles, versions)
        _mark_removed(client, name, {info.version for info in bundles}, versions)
        aliases = {alias: number for alias, number in aliases_of(live).items() if number in versions}
        _move_aliases(client, name, {alias: versions[number] for alias, number in aliases.items()})
        replace_bytes(_memory(home, project), json.dumps(seen).encode())
    return Mirrored(name, versions, aliases)


def _seen(home: Home, state: State, project: str) -> dict[str, Any]:
    live = current(state, project)
    models = home.models(project)
    judged = sorted(
        int(file.parent.name) for file in models.glob("*/gate.json") if file.parent.name.isdecimal()
    )
    return {"revision": live.revision if live else 0, "judged": judged}


def _memory(home: Home, project: str) -> Path:
    return home.mlflow / "registry" / f"{project}.json"


def _written(home: Home, project: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(_memory(home, project).read_text())
    except (FileNotFoundError, ValueError):
        return None  # written again by the next reconcile
    return found


def _ensure_model(client: MlflowClient, name: str, project: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        about = (
            f"Models of the project {project}. Tidemill keeps this page as its deployment is: an alias that is "
            f"moved here is moved back. Use the dashboard or `tidemill rollout {project}`."
        )
        client.create_registered_model(name, tags={"project": project}, description=about)


def _known(client: MlflowClient, name: str) -> dict[int, str]:
    """MLflow's version of each bundle that is registered, by the tag `bundle`; the first of two."""
    found: dict[int, str] = {}
    for version in _versions(client, name):
        if str(number := version.tags.get("bundle", "")).isdecimal():
            before = found.get(int(number))
            found[int(number)] = str(min(int(version.version), int(before or version.version)))
    return found


def _versions(client: MlflowClient, name: str) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", max_results=_PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _register(client: MlflowClient, name: str, info: BundleInfo) -> str:
    """Register a bundle: from the run that trained it, or from its folder where MLflow knows no such run."""
    run_id = info.provenance.get("mlflow_run_id")
    run = _run(client, run_id) if run_id else None
    made = client.create_model_version(
        name,
        source=f"{run.info.artifact_uri}/bundle" if run else info.folder.as_uri(),
        run_id=run.info.run_id if run else None,
        tags={"bundle": str(info.version)},
    )
    return str(made.version)


def _run(client: MlflowClient, run_id: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None  # MLflow's store was made anew since; the bundle has everything that matters


def _describe(
    client: MlflowClient, name: str, bundles: Sequence[BundleInfo], versions: Mapping[int, str]
) -> None:
    """Bring what each version says of itself up to date: tags, and one line for a person."""
    shown = {str(version.version): version for version in _versions(client, name)}
    for info in bundles:
        version = shown[versions[info.version]]
        for key, value in _tags(info).items():
            if version.tags.get(key) != value:
                client.set_model_version_tag(name, version.version, key, value)
        if (version.description or "") != (line := _line(info)):
            client.update_model_version(name, version.version, line)


def _tags(info: BundleInfo) -> dict[str, str]:
    known = {
        "estimator": info.estimator,
        "task": info.task,
        "origin": str(info.provenance.get("origin", "trained")),
        "dataset": str(info.provenance.get("dataset", "")),
        "code_commit": str(info.provenance.get("commit", "")),
        "gate": _verdict(info),
        **{f"test_{name}": f"{found['value']:.6g}" for name, found in info.metrics.items()},
    }
    return {key: value[:5000] for key, value in known.items() if value}


def _verdict(info: BundleInfo) -> str:
    if info.gate is None:
        return "not judged"
    return "passed" if info.gate.get("passed") else "refused"


def _line(info: BundleInfo) -> str:
    line = f"Model {info.version}: {info.estimator}"
    if (found := info.metrics.get(info.metric)) is not None:
        line += f", {info.metric} {found['value']:.4f} ({found['low']:.4f} to {found['high']:.4f}) on held-out rows"
    return f"{line}, gate {_verdict(info)}"


def _mark_removed(client: MlflowClient, name: str, present: set[int], versions: Mapping[int, str]) -> None:
    """A version whose bundle is gone stays for the record, and says so."""
    for number, version in versions.items():
        if number not in present:
            client.set_model_version_tag(name, version, "removed", "the bundle is no longer in the store")


def _move_aliases(client: MlflowClient, name: str, wanted: Mapping[str, str]) -> None:
    held = {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}
    for alias in ALIASES:
        if alias in wanted and held.get(alias) != wanted[alias]:
            client.set_registered_model_alias(name, alias, wanted[alias])
        elif alias in held and alias not in wanted:
            client.delete_registered_model_alias(name, alias)
