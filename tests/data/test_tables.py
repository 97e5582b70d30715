"""Rows in CSV, TSV, parquet and Arrow files, beside their pictures or alone, with turns or with captions."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.layouts import ANSWER, jpg, turns

from atv.data import HFDataset, HFStream
from atv.data.sources import load_calibration

ASKED = "Describe this picture."


def separated(file, rows):
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
        writer.writerows([rows[0].keys(), *(row.values() for row in rows)])


def parquet(file, rows):
    pq.write_table(pa.Table.from_pylist(rows), file)


def arrow(file, rows, write=pa.ipc.new_stream):
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(file), "wb") as sink, write(sink, table.schema) as writer:
        writer.write_table(table)


KINDS = {
    "rows.csv": separated,
    "ROWS.CSV": separated,
    "rows.tsv": separated,
    "rows.parquet": parquet,
    "rows.arrow": arrow,
    "file.arrow": lambda file, rows: arrow(file, rows, pa.ipc.new_file),
}


def pictures(folder, *names):
    (folder / "pictures").mkdir(exist_ok=True)
    for name in names:
        (folder / "pictures" / name).write_bytes(jpg(3))


@pytest.mark.parametrize("name", KINDS)
def test_captions_in_rows_beside_their_pictures(name, tmp_path):
    pictures(tmp_path, "a.jpg", "b.jpg")
    captions = {"a.jpg": "NA", "b.jpg": "a red star, here"}
    KINDS[name](tmp_path / name, [{"image": f"pictures/{one}", "caption": said} for one, said in captions.items()])
    for named in (tmp_path, tmp_path / name):
        data = load_calibration(str(named))
        drawn = [data.read(number) for number in range(len(data))]
        assert [one.pictures for one in drawn] == [[tmp_path / "pictures" / one] for one in captions]
        assert [[turn["text"] for turn in one.turns] for one in drawn] == [[ASKED, said] for said in captions.values()]
    streamed = HFStream(tmp_path / name, prompt="what?").draw(0)
    assert {one.turns[0]["text"] for one in streamed} == {"what?"}


@pytest.mark.parametrize("written", [json.dumps, repr])
def test_turns_and_lists_of_pictures_in_cells_of_csv(written, tmp_path):
    """As JSON, and as pandas writes them."""
    pictures(tmp_path, "a.jpg")
    row = {"conversations": written(turns()), "image": written(["pictures/a.jpg"]), "text": "not this", "id": "007"}
    separated(tmp_path / "train.csv", [row])
    separated(tmp_path / "test.csv", [row | {"id": "8"}])
    (read,) = load_calibration(str(tmp_path)).draw(0)
    assert (read.id, list(read.turns), read.pictures) == ("007", turns(), [tmp_path / "pictures" / "a.jpg"])


def test_columns_of_captions_may_be_named(tmp_path):
    pictures(tmp_path, "a.jpg")
    separated(tmp_path / "rows.csv", [{"file_name": "pictures/a.jpg", "text": "no", "german": "ein Stern"}])
    data = HFDataset(tmp_path / "rows.csv", caption="german", prompt="was?")
    assert [turn["text"] for turn in data.read(0).turns] == ["was?", "ein Stern"]
    assert {"caption": "german", "prompt": "was?"}.items() <= data.record().items()


@pytest.mark.parametrize("cell", ["", "  "])
def test_a_caption_of_no_picture_is_no_sample(cell, tmp_path):
    pictures(tmp_path)
    separated(tmp_path / "rows.csv", [{"image": cell, "caption": ANSWER}])
    assert HFDataset(tmp_path / "rows.csv").read(0).fault == "it has a caption but no picture in image"


WRONG = {
    "other columns": (
        {"rows.csv": "photo,words\na,b\n"},
        "missing columns conversations, image; found photo, words",
    ),
    "questions": (
        {"rows.csv": "image,question,answer,text\na,b,c,d\n"},
        "missing columns conversations; found image, question, answer, text. To name others, use the options conv",
    ),
    "long lines": ({"rows.csv": "image,caption\na.jpg,red, and round\n"}, "rows.csv is not valid CSV"),
    "no lines": ({"rows.csv": "image,caption\n"}, "the data hold no samples"),
    "nothing": ({"rows.tsv": ""}, "rows.tsv is not valid TSV"),
    "latin-1": ({"rows.csv": b"image,caption\na.jpg,caf\xe9\n"}, "rows.csv' is not UTF-8 (byte 0xe9 in line 2)"),
    "another split": (
        {"test.csv": "image,caption\na,b\n"},
        "holds no split 'train' as csv (train-*.csv); found test",
    ),
    "no arrow": ({"rows.arrow": "image,caption"}, "rows.arrow' is not a valid arrow file"),
    "other shards": (
        {"train-0.csv": "image,caption\na,b\n", "train-1.csv": "image,words\na,b\n"},
        "train-1.csv' and 'train-0.csv' differ in the columns caption, words",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_read_is_named(case, tmp_path):
    files, message = WRONG[case]
    pictures(tmp_path, "a.jpg")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"^calibration") as error:
        load_calibration(str(tmp_path))
    assert message in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("name", ["no/rows.csv", "no/rows.parquet", "rows.tsv"])
def test_a_file_that_is_not_there_is_no_hub_id(name, monkeypatch):
    monkeypatch.setattr("atv.data.hf_dataset.load_dataset", lambda *args, **options: pytest.fail("asks the hub"))
    with pytest.raises(
        ValueError, match=f"^calibration: '{name}' is no data set saved to disk, no file ending in .parquet"
    ):
        load_calibration(name)


def test_hidden_files_are_none(tmp_path):
    """As macOS leaves them beside every file of an archive."""
    pictures(tmp_path, "a.jpg")
    separated(tmp_path / "rows.csv", [{"image": "pictures/a.jpg", "caption": ANSWER}])
    (tmp_path / ".ipynb_checkpoints").mkdir()
    for name in ("._rows.csv", "._rows.parquet", "pictures/._a.jpg", ".ipynb_checkpoints/rows-checkpoint.csv"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    (read,) = load_calibration(str(tmp_path)).draw(0)
    assert read.pictures == [tmp_path / "pictures" / "a.jpg"]
    (tmp_path / "pictures" / "a.txt").write_text(ANSWER)
    assert len(load_calibration(str(tmp_path / "pictures"))) == 1


def test_rows_of_json_whose_pictures_have_another_name_are_no_text(tmp_path):
    rows = [{"id": "a.jpg", "conversations": turns("")}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    assert not load_calibration(str(tmp_path / "rows.json")).read(0).pictures
    (tmp_path / "rows.json").write_text(json.dumps([*rows, rows[0] | {"img": "a.JPG"}]))
    with pytest.raises(ValueError, match=r"^calibration.annotations: missing columns image, and 'img' seems to name"):
        load_calibration(str(tmp_path / "rows.json"))
