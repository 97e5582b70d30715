"""Where rows come from, and what is said when they do not."""

import shutil

import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, Image, load_dataset
from datasets.exceptions import DatasetNotFoundError
from helpers.benchmark_data import gqa, gqa_pictures, mmbench, pope
from PIL import Image as Pillow

from atv.bundled import BUNDLED_MODEL
from atv.evaluation.benchmarks.asked import digest, question_rows
from atv.evaluation.benchmarks.gqa import PICTURES
from atv.evaluation.benchmarks.loaded import load_benchmark
from atv.model.loading import load_processor


def write(table, file):
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)
    return file.parent


PLACES = (
    "test-0.parquet",
    "data/test-0.parquet",
    "POPE/any.parquet",
    "lmms-lab--POPE/test.parquet",
    "lmms-lab-encoder--POPE/data/test-00000-of-00001.parquet",
    "test/0000.parquet",
)


@pytest.mark.parametrize("place", PLACES)
def test_parquet_wherever_a_copy_has_it(place, data, tmp_path):
    write(pope(), tmp_path / place)
    assert load_benchmark("POPE", tmp_path).provenance() == load_benchmark("POPE", data).provenance()


def test_what_was_saved_to_disk_is_the_same_data(data, tmp_path):
    rows = load_dataset("parquet", data_files=str(data / "MMBench/en/*.parquet"), split="train")
    rows.save_to_disk(tmp_path / "one")
    DatasetDict({"dev": rows, "test": rows.select([0])}).save_to_disk(tmp_path / "splits" / "MMBench" / "en")
    expected = load_benchmark("MMBench", data).provenance()["digest"]
    assert load_benchmark("MMBench", tmp_path / "one").provenance()["digest"] == expected
    assert load_benchmark("MMBench", tmp_path / "splits").provenance()["digest"] == expected


@pytest.mark.parametrize("name", ["MMBench", "ScienceQA", "MME"])
def test_the_order_of_rows_moves_no_id(name, data):
    loaded = load_benchmark(name, data)
    again = question_rows(loaded.benchmark, loaded.rows.select(range(len(loaded.rows) - 1, -1, -1)))
    assert digest(again) == digest(loaded.questions)


def test_missing_columns_are_named_with_those_that_are_there(tmp_path):
    write(mmbench().drop_columns(["hint", "D"]), tmp_path / "dev-0.parquet")
    with pytest.raises(ValueError, match=r"MMBench: missing columns hint, D; found index, question, answer, A"):
        load_benchmark("MMBench", tmp_path)


def test_pictures_of_gqa_may_be_missing(data, tmp_path):
    shutil.copytree(data / "GQA", tmp_path / "GQA")
    file = tmp_path / "GQA/testdev_balanced_images/testdev-00000-of-00001.parquet"
    pq.write_table(pq.read_table(file).slice(1), file)
    with pytest.raises(ValueError, match="lacks 1 pictures of questions; the first is 'n0'"):
        load_benchmark("GQA", tmp_path)


@pytest.mark.parametrize("name", ["POPE", "GQA"])
def test_pictures_are_those_beside_the_data_wherever_one_stands(name, tmp_path, monkeypatch):
    folder, here = tmp_path / name, tmp_path / "here"
    pictured, file = (pope(), "test-0.parquet") if name == "POPE" else (gqa_pictures(), f"{PICTURES}/testdev-0.parquet")
    rows = pictured.to_pylist()
    for place, color in ((folder, "white"), (here, "black")):
        place.mkdir()
        Pillow.new("RGB", (54, 54), color).save(place / "0.png")
    for row in rows:
        row["image"] = {"bytes": None, "path": "0.png"}
    write(pictured.from_pylist(rows, schema=pictured.schema), folder / file)
    if name == "GQA":
        write(gqa(), folder / "testdev_balanced_instructions" / "testdev-0.parquet")
    monkeypatch.chdir(here)
    (batch,) = load_benchmark(name, folder).batches(load_processor(BUNDLED_MODEL))
    shown = batch.inputs["pixel_values"]
    assert len(shown) == 6 and shown.min() == shown.max() > 0


def test_a_broken_picture_of_gqa_is_named(data, monkeypatch):
    def fetch(name, config, split):
        if config != PICTURES:
            return load_dataset("parquet", data_files=str(data / f"GQA/{config}/*.parquet"), split="train")
        rows = gqa_pictures().to_pylist()
        rows[1]["image"] = {"bytes": b"<html>404</html>", "path": None}
        return Dataset.from_list(rows).cast_column("image", Image())

    monkeypatch.setattr("atv.evaluation.benchmarks.source.load_dataset", fetch)
    with pytest.raises(ValueError, match=f"GQA: picture 'n1' of {PICTURES} is broken: "):
        load_benchmark("GQA")


def test_a_folder_without_the_data(tmp_path):
    with pytest.raises(ValueError, match="no folder"):
        load_benchmark("POPE", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no split 'dev' of en"):
        load_benchmark("MMBench", tmp_path)


def test_limits_count_groups(data):
    assert len(load_benchmark("MMBench", data, limit=2).questions) == 6
    with pytest.raises(ValueError, match="limit: expected 1 or more, got 0"):
        load_benchmark("MMBench", data, limit=0)


def test_unknown_names_list_the_choices():
    with pytest.raises(ValueError, match=r"did you mean 'MMBench'\? Choices: .*GQA, MMBench, .*MMMU, OKVQA"):
        load_benchmark("MMBenchDev")


@pytest.mark.parametrize(
    "error",
    [ConnectionError("no network"), DatasetNotFoundError("Dataset 'lmms-lab/MME' is a gated dataset on the Hub.")],
)
def test_a_hub_out_of_reach_or_a_gated_data_set(error, monkeypatch):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr("atv.evaluation.benchmarks.source.load_dataset", refuse)
    where = r"lmms-lab-encoder/MME or lmms-lab/MME \(default, test\)"
    with pytest.raises(ValueError, match=rf"{where}.*--data FOLDER.*log in") as raised:
        load_benchmark("MME")
    assert str(error) in str(raised.value)


def test_the_hub_is_asked_for_the_configuration_and_tells_its_commit(data, monkeypatch):
    requests, commit = [], "0123456789abcdef0123456789abcdef01234567"

    def fetch(name, config, split):
        requests.append((name, config, split))
        rows = load_dataset("parquet", data_files=str(data / "MMBench/en/*.parquet"), split="train")
        rows.info.download_checksums = {f"hf://datasets/{name}@{commit}/en/dev-00000-of-00001.parquet": {}}
        return rows

    monkeypatch.setattr("atv.evaluation.benchmarks.source.load_dataset", fetch)
    found = load_benchmark("MMBench").provenance()
    assert requests == [("lmms-lab-encoder/MMBench", "en", "dev")] and found["revision"] == commit


def test_the_former_name_is_tried_where_the_new_one_is_not_there(data, monkeypatch):
    requests = []

    def fetch(name, config, split):
        requests.append(name)
        if name.startswith("lmms-lab-encoder/"):
            raise DatasetNotFoundError(f"Dataset '{name}' doesn't exist on the Hub or cannot be accessed.")
        folder = "testdev_balanced_images" if config == PICTURES else "testdev_balanced_instructions"
        return load_dataset("parquet", data_files=str(data / f"GQA/{folder}/*.parquet"), split="train")

    monkeypatch.setattr("atv.evaluation.benchmarks.source.load_dataset", fetch)
    assert len(load_benchmark("GQA").questions) == 6
    assert requests == ["lmms-lab-encoder/GQA", "lmms-lab/GQA", "lmms-lab/GQA"]


OTHERS = {
    "another split": ("train-00000-of-00001.parquet", "holds no split 'test' as parquet .*; found train"),
    "another split's folder": ("data/validation-0.parquet", "found validation"),
    "a split of another maker": ("val2014-00000-of-00001.parquet", "found val2014"),
    "a name with a split in it": ("pope_train.parquet", "found train"),
    "another data set beside": ("MME/data/test-00000-of-00001.parquet", "holds no split 'test'"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_rows_of_another_split_are_never_asked(case, tmp_path):
    file, message = OTHERS[case]
    write(pope(), tmp_path / file)
    with pytest.raises(ValueError, match=message):
        load_benchmark("POPE", tmp_path)


def test_only_the_wanted_split_is_asked(tmp_path):
    write(pope().slice(0, 2), tmp_path / "test-00000-of-00001.parquet")
    write(pope(), tmp_path / "train-00000-of-00001.parquet")
    write(pope(), tmp_path / "notes.parquet")
    assert len(load_benchmark("POPE", tmp_path).questions) == 2


def test_a_saved_data_set_of_another_split_is_refused(tmp_path):
    rows = load_dataset("parquet", data_files={"val": str(write(pope(), tmp_path / "a.parquet") / "a.parquet")})
    rows.save_to_disk(tmp_path / "splits")
    rows["val"].save_to_disk(tmp_path / "one")
    for folder in ("splits", "one"):
        with pytest.raises(ValueError, match="holds no split 'test'; found val"):
            load_benchmark("POPE", tmp_path / folder)
