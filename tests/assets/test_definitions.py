"""The asset graph is made from the project files."""

from dagster import AssetKey, Definitions, InMemoryIOManager

from assets.definitions import build_definitions
from tidemill.home import Home

STATIONS = ["raw", "labels", "features", "model", "evaluation", "deployment", "predictions", "drift_report"]


def keys(definitions: Definitions) -> set[str]:
    return {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}


def test_a_project_is_eight_assets_under_its_name(churn: Home) -> None:
    assert keys(build_definitions(churn)) == {f"churn/{station}" for station in STATIONS}


def test_the_loop_runs_in_the_order_of_the_stations(churn: Home) -> None:
    graph = build_definitions(churn).resolve_asset_graph()
    order = [key.path[-1] for level in graph.toposorted_asset_keys_by_level for key in level]
    assert order == STATIONS


def test_checks_that_must_stop_a_bad_result_are_blocking(churn: Home) -> None:
    graph = build_definitions(churn).resolve_asset_graph()
    blocking = {
        f"{key.asset_key.path[-1]}:{key.name}" for key in graph.asset_check_keys if graph.get(key).blocking
    }
    assert blocking == {"raw:contract", "features:leakage", "evaluation:promotion_gate"}


def test_checks_that_warn_stop_nothing(churn: Home) -> None:
    graph = build_definitions(churn).resolve_asset_graph()
    warning = {
        f"{key.asset_key.path[-1]}:{key.name}"
        for key in graph.asset_check_keys
        if not graph.get(key).blocking
    }
    assert {"raw:rejects", "features:quality"} <= warning


def test_each_project_has_its_jobs_sensor_and_schedule(churn: Home) -> None:
    repository = build_definitions(churn).get_repository_def()
    assert {"churn__ingest", "churn__training", "churn__monitoring", "churn__loop"} <= set(
        repository.job_names
    )
    assert repository.has_sensor_def("churn__landed_files")
    assert repository.has_schedule_def("churn__drift")


def test_a_home_without_projects_loads(home: Home) -> None:
    assert keys(build_definitions(home)) == set()


def test_a_bad_project_file_says_why_and_the_others_load(churn: Home, churn_text: str) -> None:
    bad = churn.project_file("broken")
    bad.parent.mkdir()
    bad.write_text(
        churn_text.replace("name: churn", "name: broken").replace("months: {type", "months: {tipe")
    )
    definitions = build_definitions(churn)
    assert keys(definitions) == {f"churn/{station}" for station in STATIONS} | {"broken/project_file"}
    specs = {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
    described = specs[AssetKey(["broken", "project_file"])].description
    assert "line 6, columns.months.tipe" in described
    assert "did you mean type?" in described


def test_resources_can_be_replaced(churn: Home) -> None:
    replaced = InMemoryIOManager()
    assert build_definitions(churn, {"tables": replaced}).resources["tables"] is replaced


def test_where_people_label_their_answers_are_assets_too(home: Home, churn_text: str) -> None:
    file = home.project_file("churn")
    file.parent.mkdir(parents=True)
    file.write_text(churn_text.replace("labels: {", "labels: {kind: built-in, "))
    definitions = build_definitions(home)
    assert keys(definitions) == {
        f"churn/{station}" for station in (*STATIONS, "annotations", "production_rows")
    }
    repository = definitions.get_repository_def()
    repository.load_all_definitions()  # as the code server does, which finds names that clash
    assert "churn__labelling" in repository.job_names
    assert repository.has_sensor_def("churn__answers")
    steps = repository.get_job("churn__training").asset_layer.executable_asset_keys
    assert {key.path[-1] for key in steps} >= {"annotations", "production_rows", "labels"}
