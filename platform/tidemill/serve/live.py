"""A model at hand: loaded, with the contract it was trained under and today's policies.

Here belongs making one from a bundle. Which version is wanted, and when one takes another's place, is the business
of `serve/service.py` and `serve/canary.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tidemill.errors import TidemillError
from tidemill.home import Home
from tidemill.learn.bundle_info import load_info
from tidemill.project import Project
from tidemill.serve.plain import PlainRoute
from tidemill.serve.record import RecordContract
from tidemill.serve.scorer import Scorer, open_scorer

MakeScorer = Callable[[Path, int, Project], Scorer]


@dataclass(frozen=True)
class Live:
    """A loaded model with the contract it was trained under.

    `policies_mark` tells when policies were edited. `plain` answers plain requests, where the model is compiled.
    """

    scorer: Scorer
    contract: RecordContract
    project: Project
    revision: int
    policies_mark: int
    plain: PlainRoute | None = None


class Loader:
    """Makes the models of one project live. Holds nothing of them."""

    def __init__(self, home: Home, project_name: str, make_scorer: MakeScorer = open_scorer) -> None:
        self.project_name = project_name
        self._home = home
        self._make_scorer = make_scorer

    def scorer(self, version: int) -> Scorer:
        """The scorer alone. Raises as `live`."""
        models = self._home.models(self.project_name)
        return self._make_scorer(models, version, self._contract_of(models, version))

    def live(
        self, version: int, revision: int, scorer: Scorer | None = None, *, role: str = "champion"
    ) -> Live:
        """Model `version`; `scorer` when it is loaded already. Raises NotFound or Corrupt."""
        models = self._home.models(self.project_name)
        mark = self.policies_mark()
        project = self._with_policies(self._contract_of(models, version))
        if scorer is None or scorer.version != version:
            scorer = self._make_scorer(models, version, project)
        return self._ready(scorer, project, revision, mark, role)

    def renewed(self, live: Live, revision: int) -> Live:
        """`live` under the policies of today's project.yaml."""
        mark = self.policies_mark()
        role = live.plain.role if live.plain is not None else "champion"
        return self._ready(live.scorer, self._with_policies(live.project), revision, mark, role)

    def open_version(self, version: int) -> Live:
        """Any version, for work beside the live one. Raises NotFound or Corrupt."""
        load_info(self._home.models(self.project_name), version)
        return self.live(version, 0)

    def policies_mark(self) -> int:
        """Changes when project.yaml is written."""
        try:
            return self._home.project_file(self.project_name).stat().st_mtime_ns
        except OSError:
            return 0

    def _ready(self, scorer: Scorer, project: Project, revision: int, mark: int, role: str) -> Live:
        from tidemill.serve.compiled import CompiledScorer

        contract = RecordContract(project)
        plain = None
        if isinstance(scorer, CompiledScorer) and project.name == self.project_name:
            plain = PlainRoute(project, contract, scorer, role)
        return Live(scorer, contract, project, revision, mark, plain)

    def _contract_of(self, models: Path, version: int) -> Project:
        """The contract the model was trained under: today's project.yaml may have other columns."""
        file = models / str(version) / "contract.yaml"
        if not file.is_file():
            return Project.load(self._home.require_project(self.project_name))
        text = file.read_text(encoding="utf-8")
        return Project.parse(text, self._home.project_file(self.project_name))

    def _with_policies(self, trained: Project) -> Project:
        """`trained` with today's rules on odd values, which need no new model; the threshold stays the model's."""
        try:
            today = Project.load(self._home.require_project(self.project_name))
        except TidemillError:
            return trained  # a broken project.yaml is shown elsewhere and must not stop the answers
        rules = today.serving.model_dump(exclude={"threshold"})
        serving = trained.serving.model_copy(update=rules)
        return trained.model_copy(update={"serving": serving, "rollout": today.rollout})
