"""A file held against a contract: every difference is named, and the suggested contract takes the file."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill import cli
from tidemill.data.amend import amended
from tidemill.data.contract import compare, suggest
from tidemill.data.ingest import ingest_pending
from tidemill.errors import InvalidInput
from tidemill.home import Home
from tidemill.project import Column, Project
from tidemill.project_file import read_text
from tidemill.store.state import State
from tidemill.store.tables import TableStore

Drop = Callable[..., Path]
HEADER = "id,age,spend,plan,member,seen,churn"
GOOD = "a1,40,9.5,basic,yes,2024-01-02,no"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a CSV file outside of any inbox."""

    def put(header: str, *lines: str) -> Path:
        path = tmp_path / "new.csv"
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return put


def test_a_file_that_fits(shop: Project, write: Callable[..., Path]) -> None:
    found = compare(write(HEADER, GOOD), shop)
    assert found.is_same
    assert suggest(found, shop) == shop.columns


def test_every_difference_is_named(shop: Project, write: Callable[..., Path]) -> None:
    found = compare(
        write(
            "id,Age,spend,plan,seen,churn,visits",
            "a1,40,9.5,gold,2024-01-02 10:00:00,no,3",
            "a2,41,-2,,2024-01-03,no,4",
            "a3,42,cheap,basic,2024-01-04,yes,5",
        ),
        shop,
    )
    assert found.missing == ["age", "member"]
    assert {name: column.type for name, column in found.added.items()} == {
        "Age": "integer",
        "visits": "integer",
    }
    assert found.renamed == [{"expected": "age", "found": "Age"}]
    assert [(each.column, each.expected, each.found, each.rows, each.examples) for each in found.changed] == [
        ("spend", "float", "string", 1, ["cheap"]),
        ("seen", "date", "datetime", 1, ["2024-01-02 10:00:00"]),
    ]
    assert [(each.column, each.rule, each.rows, each.examples) for each in found.bounds] == [
        ("spend", "min", 1, ["-2"]),
        ("plan", "nulls", 1, []),
        ("plan", "values", 1, ["gold"]),
    ]
    assert not found.is_same


def test_a_few_wrong_cells_are_rows_to_mend_not_another_contract(
    shop: Project, write: Callable[..., Path]
) -> None:
    lines = [f"a{n},{n % 50},{n}.5,basic,yes,,no" for n in range(200)]
    found = compare(write(HEADER, *lines, "b1,old,1,plus,no,,no"), shop)
    assert found.is_same
    assert [(each.column, each.rows, each.examples) for each in found.dirty] == [("age", 1, ["old"])]


def test_a_suggestion_takes_the_file_and_all_that_came_before(
    home: Home, state: State, shop: Project, drop: Drop, write: Callable[..., Path]
) -> None:
    drop("old.csv", GOOD, "a2,,0,plus,no,,yes")
    ingest_pending(home, state, shop)
    lines = ["a7,40.5,-3,gold,2024-01-02 10:00:00,yes,north", "a8,130,12,basic,2024-01-03,no,south"]
    header = "id,age,spend,plan,seen,churn,area"
    file = home.project_file("shop")
    new = amended(read_text(file), shop, suggest(compare(write(header, *lines), shop), shop))
    file.write_text(new)
    wider = Project.load(file)
    assert (wider.columns["age"].type, wider.columns["age"].min) == ("float", 0)
    assert (wider.columns["age"].max or 0) >= 130
    assert wider.columns["member"].optional
    assert wider.columns["area"].optional
    assert wider.columns["plan"].values == ["basic", "plus", "gold"]
    drop("new.csv", *lines, header=header)
    result = ingest_pending(home, state, wider)
    assert [(outcome.status, outcome.rejected) for outcome in result.files] == [("accepted", 0)]
    assert result.version is not None
    assert result.version.rows == 4
    rows = {row["_row"]: row for row in result.version.to_arrow().to_pylist()}
    assert (rows["a1"]["area"], rows["a7"]["area"], rows["a7"]["member"]) == (None, "north", None)


def test_what_no_widening_can_take_is_said(shop: Project, write: Callable[..., Path]) -> None:
    for header, line, words in [
        ("age,spend,plan,member,seen,churn", "1,1,basic,yes,,no", "id column 'id' is missing"),
        (HEADER, ",1,1,basic,yes,,no", "id column 'id' has empty cells"),
        (HEADER, "a1,1,1,basic,yes,31/12/2024,no", "'31/12/2024', a date written in another way"),
    ]:
        with pytest.raises(InvalidInput, match="No wider contract") as raised:
            suggest(compare(write(header, line), shop), shop)
        assert words in raised.value.detail


TEXT = """\
# A shop's customers.
name: shop   # the folder's name
task: binary
columns:
  id: {type: string, role: id}
  # years, as told by the customer
  age:   {type: integer, max: 120}   # checked in spring
  plan:
    type: category
    values: [basic, plus]
  churn: {type: category, role: target, values: ['no', 'yes']}   # the target

# Few rows may be wrong.
rejects: {max_share: 0.5}
"""


def test_the_text_keeps_what_its_author_wrote() -> None:
    project = Project.parse(TEXT, Path("shop/project.yaml"))
    columns = dict(project.columns)
    columns["age"] = Column(type="float", max=150)
    columns["plan"] = Column(type="category", values=["basic", "plus", "gold: new"])
    columns["area no. 1"] = Column(type="string", optional=True)
    new = amended(TEXT, project, columns)
    assert new == TEXT.replace(
        "age:   {type: integer, max: 120}", "age: {type: float, role: feature, max: 150}"
    ).replace(
        "plan:\n    type: category\n    values: [basic, plus]",
        "plan: {type: category, role: feature, values: [basic, plus, 'gold: new']}",
    ).replace("# the target\n", "# the target\n  area no. 1: {type: string, role: feature, optional: true}\n")


@pytest.mark.parametrize(
    "text",
    [
        "{name: shop, task: binary, columns: {a: {type: float}, y: {type: boolean, role: target}}}",
        "name: shop\ntask: binary\ncolumns: {a: {type: float}, y: {type: boolean, role: target}}\n",
        "name: shop\ntask: binary\ncolumns:\n  a: &it {type: float}\n  b: *it\n  y: {type: boolean, role: target}",
        "name: shop\ntask: binary\ncolumns:\n  a:\n    type: float\n  y:\n    type: boolean\n    role: target",
    ],
)
def test_any_form_of_the_file_says_what_was_meant(text: str) -> None:
    file = Path("shop/project.yaml")
    project = Project.parse(text, file)
    columns = project.columns | {"a": Column(type="string"), "new": Column(type="text", optional=True)}
    assert Project.parse(amended(text, project, columns), file).columns == columns


def test_the_commands(
    home: Home, shop: Project, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = home.project_file(shop.name)
    before = file.read_text()
    os.chmod(file, 0o640)
    good = str(write(HEADER, GOOD))
    assert cli.main(["contract", "diff", "shop", good]) == 0
    assert cli.main(["contract", "suggest", "shop", good, "--accept"]) == 0
    assert file.read_text() == before
    other = str(write(HEADER + ",visits", GOOD + ",3"))
    capsys.readouterr()
    assert cli.main(["contract", "diff", "shop", other]) == 1
    assert "added    visits: seems to be integer" in capsys.readouterr().out
    assert cli.main(["contract", "diff", "shop", other, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["added"] == {"visits": {"type": "integer", "role": "ignore"}}
    assert cli.main(["contract", "suggest", "shop", other]) == 0
    assert "Nothing was written" in capsys.readouterr().out
    assert file.read_text() == before
    assert cli.main(["contract", "suggest", "shop", other, "--accept"]) == 0
    assert "+  visits: {type: integer" in capsys.readouterr().out
    (kept,) = file.parent.glob("project.yaml.*.bak")
    assert kept.read_text() == before
    assert file.stat().st_mode & 0o777 == 0o640
    assert cli.main(["contract", "diff", "shop", other]) == 0
    assert cli.main(["contract", "diff", "shop", "nothing.csv"]) == 1


def test_another_type_refuses_the_file_with_what_was_found(
    home: Home, state: State, shop: Project, drop: Drop
) -> None:
    drop("one.csv", GOOD)
    before = ingest_pending(home, state, shop).version
    drop("two.csv", *(f"b{n},{n}.5,1,basic,yes,,no" for n in range(8)))
    (outcome,) = ingest_pending(home, state, shop).files
    assert outcome.problem is not None
    assert outcome.problem["type"] == "urn:tidemill:problem:contract-changed"
    assert outcome.problem["status"] == 409
    (change,) = outcome.problem["diff"]["changed"]
    assert change == {
        "column": "age",
        "expected": "integer",
        "found": "float",
        "rows": 8,
        "examples": ["0.5", "1.5", "2.5", "3.5", "4.5"],
    }
    assert TableStore(home.tables("shop")).current("raw") == before
