"""Where things stand and which way imports run: the promises of the folder names."""

import ast
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "platform" / "tidemill"
FRAMEWORKS = {"dagster", "dagster_mlflow", "fastapi", "streamlit", "mlflow"}
TOP_LEVEL = (
    "platform", "assets", "resources", "api", "ui", "workspace.yaml", "notebooks", "tests", "pyproject.toml",
    "README.md", "uv.lock", "tidemill",
)  # fmt: skip


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """Every module that `file` imports, anywhere in it, with the line."""
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module, node.lineno


def offences(folder: Path, is_allowed) -> list[str]:
    return [
        f"{file.relative_to(ROOT)}:{line} imports {module}"
        for file in sorted(folder.rglob("*.py"))
        for module, line in imports(file)
        if not is_allowed(module)
    ]


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_the_top_level_is_what_was_asked_for(name: str) -> None:
    assert (ROOT / name).exists()


def test_platform_is_the_standard_librarys() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert platform.python_implementation()
    code = "import platform; print(platform.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) != ROOT / "platform"
    assert found.stdout.strip().endswith("platform.py")


def test_the_core_imports_no_framework() -> None:
    ours = {"assets", "resources", "api", "ui"}
    assert not offences(CORE, lambda module: module.split(".")[0] not in FRAMEWORKS | ours)


def test_the_dashboard_reaches_tidemill_through_the_client_alone() -> None:
    def is_allowed(module: str) -> bool:
        top = module.split(".")[0]
        ours = ("tidemill.client", "tidemill.client_types")
        return module in ours or top not in {"tidemill", "assets", "resources", "api"}

    assert not offences(ROOT / "ui", is_allowed)


def test_nobody_imports_the_dashboard() -> None:
    for folder in (CORE, ROOT / "assets", ROOT / "resources", ROOT / "api"):
        assert not offences(folder, lambda module: module.split(".")[0] != "ui")


def test_api_and_orchestration_do_not_know_each_other() -> None:
    assert not offences(
        ROOT / "api", lambda module: module.split(".")[0] not in {"assets", "resources", "dagster"}
    )
    for folder in (ROOT / "assets", ROOT / "resources"):
        assert not offences(folder, lambda module: module.split(".")[0] not in {"api", "fastapi"})


def test_resources_do_not_know_the_assets_they_serve() -> None:
    # The run worker warms itself up with the definitions; nothing else looks that way.
    found = offences(ROOT / "resources", lambda module: module.split(".")[0] != "assets")
    assert [each.split(":")[0] for each in found] == ["resources/run_worker.py"]


def test_every_setting_is_documented() -> None:
    from tidemill.settings import PREFIX, Settings

    documented = (ROOT / "docs" / "settings.md").read_text()
    missing = [name for name in Settings.model_fields if f"`{PREFIX}{name.upper()}`" not in documented]
    assert not missing


@pytest.mark.parametrize(
    "module", ["tidemill.cli", "tidemill.ops.control", "tidemill.project", "tidemill.settings"]
)
def test_the_command_line_stays_quick_to_import(module: str) -> None:
    heavy = ("pandas", "sklearn", "duckdb", "sqlalchemy", "pyarrow", "numpy")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
