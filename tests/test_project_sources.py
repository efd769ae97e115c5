"""`sources` of project.yaml: each kind as a person writes it, and its faults with their lines."""

import re
from pathlib import Path

import pytest

from tidemill.data.render import render_yaml
from tidemill.errors import ProjectFileError
from tidemill.home import CHECKOUT
from tidemill.project import Project
from tidemill.project_sources import inbox_patterns, landed_patterns

HEAD = """\
name: shop
task: binary
columns:
  age: {type: integer}
  churn: {type: category, role: target, values: ['yes', 'no']}
sources:
"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9M"
SHARE = "  - {kind: share, name: lab, path: /mnt/lab/*/*.csv}\n"
SFTP = f"  - {{kind: sftp, name: lab, host: h, user: u, path: /x/*.csv, host_key: '{KEY}', secret: lab}}\n"
S3 = "  - {kind: s3, name: store, bucket: data, path: export/*.csv, endpoint: 'http://h:9', secret: s}\n"
SQL = "  - {kind: sql, name: orders, url: 'postgresql://me@h/d', query: SELECT 1, watermark: n}\n"


def parse(sources: str) -> Project:
    return Project.parse(HEAD + sources, Path("shop/project.yaml"))


def faults(sources: str) -> list[tuple[int, str, str]]:
    with pytest.raises(ProjectFileError) as refused:
        parse(sources)
    return [(problem.line, problem.field, problem.message) for problem in refused.value.problems]


def test_every_kind_is_read_and_written_again() -> None:
    text = "  - {pattern: '*.csv'}\n" + SHARE + S3 + SQL + SFTP.replace("name: lab", "name: ward")
    project = parse(text)
    assert [source.kind for source in project.sources] == ["inbox", "share", "s3", "sql", "sftp"]
    assert [source.name for source in project.watched] == ["lab", "store", "orders", "ward"]
    assert Project.parse(render_yaml(project), Path("shop/project.yaml")) == project


def test_the_inbox_takes_what_it_always_took_and_what_sources_land() -> None:
    project = parse("  - {pattern: '*.csv'}\n" + SHARE)
    assert project.inbox_patterns == ["*.csv"]
    assert project.landed_patterns == ["*.csv", "lab__*"]
    assert inbox_patterns(parse(SHARE).sources) == ["*"]
    assert landed_patterns([]) == ["*"]


@pytest.mark.parametrize(
    ("sources", "line", "field", "words"),
    [
        (SHARE + SHARE, 8, "sources.1.name", "a name of its own"),
        (SHARE.replace("/mnt/lab", "mnt/lab"), 7, "sources.0.path", "pattern"),
        (SHARE.replace("*/*.csv", "**/*.csv"), 7, "sources.0.path", "**"),
        (SHARE.replace("name: lab", "name: a__b"), 7, "sources.0.name", "pattern"),
        (SHARE.replace("kind: share", "kind: ftp"), 7, "sources.0", "ftp"),
        (SHARE.replace("}", ", password: x}"), 7, "sources.0.password", "no such field"),
        (SFTP.replace(KEY, "any"), 7, "sources.0.host_key", "pattern"),
        (SFTP.replace("secret: lab", "secret: owner.key"), 7, "sources.0.secret", "pattern"),
        (SFTP.replace("secret: lab", "secret: ../x"), 7, "sources.0.secret", "pattern"),
        (S3.replace("//h:9", "//me:pass@h:9"), 7, "sources.0.endpoint", "pattern"),
        (SQL.replace("SELECT 1", "DROP TABLE t"), 7, "sources.0.query", "SELECT"),
        (SQL.replace("postgresql://me@h/d", "nothing"), 7, "sources.0.url", "dialect"),
        (SQL.replace("name: orders", "every: 5, name: orders"), 7, "sources.0.every", "15"),
    ],
)
def test_faults_name_line_and_field(sources: str, line: int, field: str, words: str) -> None:
    found = faults(sources)
    assert any((at, where) == (line, field) and words in told for at, where, told in found), found


def test_the_readmes_example_is_right() -> None:
    readme = (CHECKOUT / "README.md").read_text()
    (example,) = [
        block for block in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL) if "sources:" in block
    ]
    project = Project.parse(HEAD.removesuffix("sources:\n") + example, Path("shop/project.yaml"))
    assert [source.kind for source in project.sources] == ["inbox", "share", "sql"]
