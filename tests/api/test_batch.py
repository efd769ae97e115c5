"""Files through a model over HTTP: nothing is lost, and each row's answer is that of POST /predictions."""

import csv
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from tidemill.client import ApiError, Client
from tidemill.serve.record import flag_text

pytestmark = pytest.mark.usefixtures("deployed")

HEADER = "pet_id,kind,weight,age,chipped,born,note\n"
FILE = HEADER + "".join(
    f"p{n},{'cat' if n % 3 else 'dog'},{n / 7:.3f},{n % 15},{'yes' if n % 2 else 'no'},"
    f"2020-01-{n % 28 + 1:02d},=1+{n}\n"
    for n in range(60)
)
ODD = """\
odd1,cow,5,1,yes,2020-01-01,unknown kind
odd2,cat,heavy,1,yes,2020-01-01,no number
odd3,cat,,1,yes,2020-01-01,
"""


def scored(client: Client, tmp_path: Path, text: str = FILE + ODD, **options: Any) -> tuple[Any, Path]:
    file = tmp_path / "pets.csv"
    file.write_text(text)
    started = client.start_batch("pets", file, **options)
    assert started["status"] == "queued"
    ended = client.wait_batch("pets", started["id"], timeout=120)
    assert ended["status"] == "succeeded", ended["problem"]
    return ended, client.batch_result("pets", ended["id"], tmp_path / f"out.{ended['format']}")


def test_each_row_has_the_answer_of_an_online_prediction(client: Client, tmp_path: Path) -> None:
    ended, out = scored(client, tmp_path)
    with out.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert (ended["rows"], ended["errors"], ended["model_version"]) == (63, 2, 1)
    assert [row["pet_id"] for row in rows] == [f"p{n}" for n in range(60)] + ["odd1", "odd2", "odd3"]
    assert [row["_line"] for row in rows] == [str(n) for n in range(2, 65)]
    for row in rows[:61]:
        record = {
            "pet_id": row["pet_id"],
            "kind": row["kind"],
            "weight": float(row["weight"]),
            "age": int(row["age"]),
            "chipped": row["chipped"] == "yes",
            "born": row["born"],
        }
        online = client.predict("pets", record)
        assert row["_prediction"] == online["label"]
        # The last bit of a sum depends on how many rows are multiplied at once, in requests too.
        assert float(row["_score"]) == pytest.approx(online["score"], abs=1e-12)
        shares = {name: float(row[f"_p_{name}"]) for name in ("no", "yes")}
        assert shares == pytest.approx(online["probabilities"], abs=1e-12)
        assert row["_flags"] == " ".join(map(flag_text, online["flags"]))
        assert row["_error"] == ""
    assert rows[60]["_flags"] == "unknown_category:kind"
    assert rows[61]["_error"] == "weight: 'heavy' is not a number"
    assert rows[62]["_error"] == "weight: a value is required"
    assert (rows[61]["_prediction"], rows[61]["_score"]) == ("", "")
    assert rows[0]["note"] == "'=1+0"
    assert len(client.predictions("pets", 100)) == 61  # those asked online alone


def test_a_result_as_parquet_with_its_rows_in_the_log(client: Client, tmp_path: Path) -> None:
    _, out = scored(client, tmp_path, format="parquet", log=True, version=2)
    table = pq.read_table(out)
    assert table.num_rows == 63
    assert set(table["_model_version"].to_pylist()) == {2}
    assert table["note"].to_pylist()[0] == "=1+0"
    known = table["_prediction_id"].to_pylist()
    assert known[61] is None
    logged = client.prediction("pets", known[0])
    assert (logged["label"], logged["model_version"]) == (table["_prediction"].to_pylist()[0], 2)


def test_a_file_that_cannot_be_scored_says_why(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "pets.csv"
    file.write_text("pet_id,kind\np1,cat\n")
    ended = client.wait_batch("pets", client.start_batch("pets", file)["id"], timeout=120)
    assert ended["status"] == "failed"
    assert ended["problem"] is not None
    assert "weight, age" in ended["problem"]["detail"]
    with pytest.raises(ApiError, match="There is no result"):
        client.batch_result("pets", ended["id"], tmp_path / "out")
    file.write_text(FILE)
    with pytest.raises(ApiError) as caught:
        client.start_batch("pets", file, version=9)
    assert caught.value.status == 404
    with pytest.raises(ApiError, match="no such batch"):
        client.batch("pets", "0" * 32)


def test_a_file_sent_before_and_one_in_a_form(http: httpx.Client, client: Client) -> None:
    form = http.post("/v1/projects/pets/batch-predictions", files={"file": ("pets.csv", FILE.encode())})
    assert form.status_code == 202
    assert client.wait_batch("pets", form.json()["id"], timeout=120)["rows"] == 60
    unknown = http.post("/v1/projects/pets/batch-predictions?file=0")
    assert unknown.json()["title"] == "There is no such file"
    nameless = http.post("/v1/projects/pets/batch-predictions", content=b"a,b\n")
    assert nameless.status_code == 422
