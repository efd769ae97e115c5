"""From a file to its table through the API, with the real ingestion in place of Dagster's job."""

from typing import Any, get_type_hints

import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter

from tidemill.client import ApiError, Client
from tidemill.data.ingest import ingest_pending

GOOD = b"pet_id,kind,weight,age,chipped,born,sick\n" + b"".join(
    b"p%d,cat,%d.5,3,true,2020-01-0%d,no\n" % (number, number, number) for number in range(1, 9)
)


def ingest(app: FastAPI) -> None:
    context = app.state.context
    ingest_pending(context.home, context.state, context.project("pets"))


def promised(method: str, answer: Any) -> None:
    TypeAdapter(get_type_hints(getattr(Client, method))["return"]).validate_python(answer, strict=True)


def test_a_file_becomes_rows_and_a_profile(app: FastAPI, client: Client) -> None:
    sent = client.upload("pets", GOOD, "pets.csv")
    ingest(app)
    record = client.wait_file("pets", sent["id"], timeout=5)
    assert (record["status"], record["rows"], record["accepted"], record["dataset_version"]) == (
        "accepted",
        8,
        8,
        1,
    )
    promised("file", record)
    assert client.project("pets")["rows"] == 8
    (table,) = client.tables("pets")
    assert (table["name"], table["version"], table["rows"]) == ("raw", 1, 8)
    shown = client.table("pets", "raw", limit=2)
    assert len(shown["rows"]) == 2
    first = dict(zip(shown["columns"], shown["rows"][0], strict=True))
    assert (first["_row"], first["weight"], first["chipped"], first["born"]) == (
        "p1",
        1.5,
        True,
        "2020-01-01",
    )
    profile = client.profile("pets", "raw")
    promised("profile", profile)
    assert {column["column"] for column in profile} >= {"weight", "born"}
    assert client.upload("pets", GOOD, "again.csv")["status"] == "accepted"


def test_a_wrong_file_says_why_and_changes_nothing(app: FastAPI, client: Client) -> None:
    sent = client.upload("pets", b"a,b\n1,2\n", "wrong.csv")
    ingest(app)
    record = client.wait_file("pets", sent["id"], timeout=5)
    assert record["status"] == "refused"
    assert record["problem"] is not None
    assert record["problem"]["title"]
    assert client.tables("pets") == []
    with pytest.raises(ApiError, match="There is no such table"):
        client.profile("pets", "raw")


def test_the_versions_of_a_table_and_what_differs(app: FastAPI, client: Client) -> None:
    client.upload("pets", GOOD, "pets.csv")
    ingest(app)
    client.upload("pets", GOOD.splitlines()[0] + b"\np9,cat,4.5,3,true,2020-01-01,no\n", "more.csv")
    ingest(app)
    newest, first = client.table_versions("pets", "raw")
    promised("table_versions", [newest, first])
    assert (newest["version"], newest["current"], newest["parent"], newest["files"]) == (
        2,
        True,
        1,
        ["more.csv"],
    )
    assert (newest["added"], newest["changed"], newest["removed"]) == (1, 0, 0)
    assert (first["rows"], first["added"]) == (8, None)
    found = client.table_diff("pets", "raw", 1, 2)
    assert (found["added"], found["unchanged"]) == (1, 8)
    assert [row["_row"] for row in found["examples"]["added"]] == ["p9"]
    for table, old, new in (("raw", 1, 3), ("rows", 1, 2)):
        with pytest.raises(ApiError) as refused:
            client.table_diff("pets", table, old, new)
        assert refused.value.status == 404
    with pytest.raises(ApiError) as refused:
        client.table_diff("pets", "raw", 0, 1)
    assert refused.value.status == 422
