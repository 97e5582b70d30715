"""Which files are a split's, and what is said of files that cannot be read together."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, Features, Image, Value
from datasets import List as ListOf
from helpers.layouts import ANSWER, QUESTION, jpg, llava_next_rows, turns

from atv.data import HFDataset, HFStream
from atv.data.row_files import row_files


def touch(folder, *files):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"")


CHOSEN = {
    "the hub's": (["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"], "train", [0, 1]),
    "the hub's, of another name": (["data/val2014-00000-of-00001", "data/test-00000-of-00001"], "val2014", [0]),
    "plain": (["train", "validation"], "validation", [1]),
    "words": (["my_train_rows", "my_test_rows"], "train", [0]),
    "folders": (["train/0000", "test/0000", "test/0001"], "test", [1, 2]),
    "folders deeper down": (["default/partial-train/0000", "default/test/0000"], "train", [0]),
    "none says any": (["part-00000-of-00002", "part-00001-of-00002", "rows"], "train", [0, 1, 2]),
    "words that hold one": (["latest", "restrained", "evaluations"], "train", [0, 1, 2]),
    "some say none": (["train-0", "notes"], "train", [0]),
    "a split of one's own": (["holdout-0", "train-0"], "holdout", [0]),
    "the file before the folder": (["train/test-0", "train/train-0"], "train", [1]),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_the_files_of_a_split(case, tmp_path):
    names, split, chosen = CHOSEN[case]
    files = [f"{name}.parquet" for name in names]
    touch(tmp_path, *files)
    assert row_files(tmp_path, split, "data") == sorted(tmp_path / files[place] for place in chosen)


@pytest.mark.parametrize("names", [["test-0"], ["my_test"], ["test/0000", "notes"], ["val-0", "dev-0", "testing"]])
def test_other_splits_are_no_substitute(names, tmp_path):
    touch(tmp_path, *(f"{name}.parquet" for name in names))
    with pytest.raises(ValueError, match=r"^data: .* holds no split 'train' as parquet .*; found "):
        row_files(tmp_path, "train", "data")


def rows(first, count):
    return llava_next_rows(first + count).select(range(first, first + count))


@pytest.mark.parametrize("kind", [HFDataset, HFStream])
def test_calibration_draws_from_its_split_alone(kind, tmp_path):
    rows(0, 3).to_parquet(tmp_path / "train-00000-of-00001.parquet")
    rows(3, 2).to_parquet(tmp_path / "test-00000-of-00001.parquet")
    drawn = {split: {one.id for one in kind(tmp_path, split=split).draw(0)} for split in ("train", "test")}
    assert drawn == {"train": {"s0", "s1", "s2"}, "test": {"s3", "s4"}}
    with pytest.raises(ValueError, match=r"holds no split 'validation' as parquet .*; found test, train"):
        kind(tmp_path, split="validation").check()


@pytest.mark.parametrize("kind", [HFDataset, HFStream])
def test_saved_data_sets_have_splits_too(kind, tmp_path):
    DatasetDict({"train": rows(0, 2), "test": rows(2, 2)}).save_to_disk(tmp_path / "both")
    rows(0, 2).save_to_disk(tmp_path / "one")
    assert {one.id for one in kind(tmp_path / "both", split="test").draw(0)} == {"s2", "s3"}
    assert {one.id for one in kind(tmp_path / "one").draw(0)} == {"s0", "s1"}
    with pytest.raises(ValueError, match="holds no split 'dev'; found train, test"):
        kind(tmp_path / "both", split="dev").check()


def test_a_configuration_is_a_folder(tmp_path):
    for number, config in enumerate(("en", "cn")):
        (tmp_path / config).mkdir()
        rows(number, 1).to_parquet(tmp_path / config / "train-00000-of-00001.parquet")
    assert [one.id for one in HFDataset(tmp_path, config="cn").draw(0)] == ["s1"]
    with pytest.raises(
        ValueError, match=r"calibration.config: .* has no configuration or sub-folder 'fr'; found cn, en"
    ):
        HFDataset(tmp_path, config="fr").check()
    with pytest.raises(ValueError, match="is a file, which has no configurations"):
        HFDataset(tmp_path / "en" / "train-00000-of-00001.parquet", config="en").check()


def spoil(case, file):
    table = pq.read_table(file)
    if case == "more columns":
        pq.write_table(table.append_column("more", pa.array(["x"] * len(table))), file)
    elif case == "fewer columns":
        pq.write_table(table.drop_columns(["data_source"]), file)
    elif case == "another type":
        pq.write_table(table.drop_columns(["conversations"]).append_column("conversations", pa.array([1.5])), file)
    else:
        file.write_bytes({"no parquet": b"PK\x03\x04" * 9, "empty": b"", "cut off": file.read_bytes()[:-40]}[case])


@pytest.mark.parametrize("case", ["more columns", "fewer columns", "another type", "no parquet", "empty", "cut off"])
@pytest.mark.parametrize("kind", [HFDataset, HFStream])
def test_shards_that_cannot_be_read_together(case, kind, tmp_path, capfd):
    for number in range(2):
        rows(number, 1).to_parquet(tmp_path / f"train-{number:05d}-of-00002.parquet")
    spoil(case, tmp_path / "train-00001-of-00002.parquet")
    data = kind(tmp_path)
    with pytest.raises(ValueError, match=r"^calibration: ") as error:
        data.check()
        list(data.draw(0))
    said = str(error.value)
    assert ("train-0000" in said or str(tmp_path) in said) and len(said) < 700 and "\n" not in said


@pytest.mark.parametrize("kind", [HFDataset, HFStream])
def test_a_shard_without_rows_is_left_out(kind, tmp_path):
    for number in range(2):
        rows(number, 1).to_parquet(file := tmp_path / f"train-{number:05d}-of-00002.parquet")
        pq.write_table(pq.read_table(file).slice(0, number), file)
    assert len(list(kind(tmp_path).draw(0))) == 1
    with pytest.raises(ValueError, match=r"train-00000-of-00002.parquet' holds no rows"):
        kind(tmp_path / "train-00000-of-00002.parquet").check()


def test_pictures_beside_the_rows(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(jpg(9))
    table = {"id": [1], "image": ["pictures/a.jpg"], "conversations": [json.dumps(turns())]}
    Dataset.from_dict(table).to_parquet(tmp_path / "rows.parquet")
    for path in (tmp_path, tmp_path / "rows.parquet"):
        for kind in (HFDataset, HFStream):
            (drawn,) = kind(path).draw(0)
            assert drawn.pictures == [tmp_path / "pictures" / "a.jpg"] and list(drawn.turns) == turns()


@pytest.mark.parametrize("kind", [HFDataset, HFStream])
def test_a_broken_picture_in_a_column_that_is_not_used_does_no_harm(kind, tmp_path):
    small = [{"bytes": content, "path": None} for content in (jpg(0), b"no picture", jpg(2))]
    file = tmp_path / "rows.parquet"
    rows(0, 3).add_column("thumbnail", small).cast_column("thumbnail", Image()).to_parquet(file)
    drawn = {one.id: one.fault for one in kind(file, task="sharegpt4v").draw(0)}
    assert drawn == {"s0": None, "s1": None, "s2": None}


@pytest.mark.parametrize("kind", [HFDataset, HFStream])
def test_a_broken_picture_in_a_turn_ends_no_stream(kind, tmp_path):
    part = {"type": Value("string"), "text": Value("string"), "image": Image()}
    said = ListOf({"role": Value("string"), "content": ListOf(part)})
    contents = [jpg(0), b"no picture", jpg(2)]
    table = {"messages": [with_picture(content) for content in contents], "images": [None] * 3}
    file = tmp_path / "rows.parquet"
    Dataset.from_dict(table, Features({"messages": said, "images": ListOf(Image())})).to_parquet(file)
    assert sorted(one.pictures for one in kind(file).draw(0)) == sorted([content] for content in contents)


def with_picture(content):
    shown = {"type": "image", "text": None, "image": {"bytes": content, "path": None}}
    asked, answered = ({"type": "text", "text": text, "image": None} for text in (QUESTION, ANSWER))
    return [{"role": "user", "content": [shown, asked]}, {"role": "assistant", "content": [answered]}]
