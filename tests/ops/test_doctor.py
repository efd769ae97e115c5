from __future__ import annotations

import os
import sqlite3

import pytest

from tidemill.home import Home
from tidemill.ops import doctor
from tidemill.ops.show import doctor_text


def found(home: Home, name: str) -> doctor.Finding:
    return next(finding for finding in doctor.examine(home) if finding.name == name)


def test_a_fresh_home_is_well_and_is_not_made(tmp_path):
    home = Home(tmp_path / "new")
    findings = doctor.examine(home)
    assert [finding for finding in findings if finding.state == "wrong"] == []
    assert "All is well." in doctor_text(findings)
    assert not home.root.exists()


def test_a_broken_project_is_named_with_its_line(tmp_path):
    home = Home(tmp_path).ensure()
    file = home.projects / "wine" / "project.yaml"
    file.parent.mkdir()
    file.write_text("name: wine\ntask: guess\n")
    finding = found(home, "project wine")
    assert finding.state == "wrong"
    assert "line 2" in finding.detail
    assert finding.remedy
    assert "to mend" in doctor_text([finding])


def test_a_broken_database_is_found(tmp_path):
    home = Home(tmp_path).ensure()
    with sqlite3.connect(home.state_db) as connection:
        connection.execute("CREATE TABLE things (name TEXT)")
        connection.executemany("INSERT INTO things VALUES (?)", [("x" * 500,)] * 200)
    connection.close()
    assert found(home, "state.db").state == "ok"
    with open(home.state_db, "r+b") as file:
        file.seek(8192)
        file.write(os.urandom(8192))
    assert found(home, "state.db").state == "wrong"
    home.state_db.write_bytes(b"not a database at all" * 100)
    assert found(home, "state.db").state == "wrong"


def test_open_secrets_are_found(tmp_path):
    home = Home(tmp_path).ensure()
    home.secrets.chmod(0o755)
    assert found(home, "secrets").state == "wrong"


@pytest.mark.parametrize(("name", "value"), [("TIDEMILL_HOST", "0.0.0.0"), ("TIDEMILL_API_PORT", "many")])
def test_a_wrong_setting_is_found(tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    finding = found(Home(tmp_path), "settings")
    assert finding.state == "wrong"
    assert finding.remedy


def test_little_space_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_LEAST_DISK", 10**18)
    finding = found(Home(tmp_path), "disk")
    assert finding.state == "wrong"
    assert finding.remedy
