import base64
import json
from pathlib import Path

import pytest
from helpers.layouts import ANSWER, QUESTION, jpg, llava_next_rows, picture, sharegpt4v, turns

from atv.bundled import BUNDLED_MODEL
from atv.data import Bundled, CaptionedImages, HFDataset, HFStream, ShareGPT4V
from atv.data.pictures import decode, opens
from atv.data.sources import load_calibration, own_data


def reds(conversation):
    return [decode(picture).getpixel((9, 9))[0] for picture in conversation.pictures]


def test_the_raw_layout_of_llava_next_data(tmp_path):
    file, images = sharegpt4v(tmp_path, 30, tasks=("coco", "sharegpt4v", "text"))
    data = ShareGPT4V(file, images, task="sharegpt4v")
    assert len(data) == 10
    second = data.read(1)
    assert second.id == "s4" and list(second.turns) == turns() and reds(second) == pytest.approx([4], abs=2)


def test_rows_without_picture_with_several_and_lines_of_json(tmp_path):
    rows = [{"id": 7, "conversations": turns("")}, {"id": "b", "image": ["x.jpg", "y.jpg"], "conversations": turns()}]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    first, second = (ShareGPT4V(tmp_path / "rows.jsonl").read(number) for number in (0, 1))
    assert first.id == "7" and not first.pictures
    assert list(second.pictures) == [tmp_path / "x.jpg", tmp_path / "y.jpg"]


def test_rows_as_other_tools_write_them(tmp_path):
    """Lines of JSON in a file called .json, OpenAI's names, and a row that is none."""
    talk = [{"role": "user", "content": "<image>what?"}, {"role": "assistant", "content": "a cat"}]
    rows = [{"messages": talk, "images": ["x.jpg"]}, None]
    (tmp_path / "rows.json").write_text("\n".join(json.dumps(row) for row in rows))
    data = ShareGPT4V(tmp_path / "rows.json")
    good, bad = data.read(0), data.read(1)
    assert good.id == "row 0" and list(good.turns) == talk and list(good.pictures) == [tmp_path / "x.jpg"]
    assert (bad.id, bad.fault) == ("row 1", "it is None; expected an object")


def saved(folder):
    llava_next_rows(6, ("a", "b")).save_to_disk(folder / "saved")
    return folder / "saved"


def parquet(folder):
    llava_next_rows(6, ("a", "b")).to_parquet(folder / "train.parquet")
    return folder / "train.parquet"


def shards(folder):
    for number in range(2):
        llava_next_rows(6, ("a", "b")).shard(2, number).to_parquet(folder / "data" / f"train-{number}.parquet")
    return folder / "data"


@pytest.mark.parametrize("write", [saved, parquet, shards])
def test_the_parquet_layout_of_llava_next_data(tmp_path, write):
    (tmp_path / "data").mkdir()
    data = HFDataset(write(tmp_path), task="b")
    conversation = data.read(2)
    assert len(data) == 3 and conversation.id == "s5" and list(conversation.turns) == turns()
    assert reds(conversation) == pytest.approx([5], abs=2)


@pytest.mark.parametrize("write", [parquet, shards])
def test_a_stream_is_shuffled_by_the_seed_and_filtered(tmp_path, write):
    (tmp_path / "data").mkdir()
    data = HFStream(write(tmp_path), task="b")
    drawn = [[conversation.id for conversation in data.draw(seed)] for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1] and len({tuple(ids) for ids in drawn}) > 1
    assert all(sorted(ids) == ["s1", "s3", "s5"] for ids in drawn)


def test_columns_of_other_names_and_rows_without_ids(tmp_path):
    rows = llava_next_rows(2).rename_columns({"image": "photo", "conversations": "talk"}).remove_columns("id")
    rows.save_to_disk(tmp_path / "rows")
    conversation = HFDataset(tmp_path / "rows", conversation="talk", image="photo").read(1)
    assert conversation.id == "row 1" and len(conversation.pictures) == 1


def captions_beside(folder):
    for number, name in enumerate(("a", "b")):
        (folder / f"{name}.jpg").write_bytes(jpg(number))
        (folder / f"{name}.txt").write_text(f"{ANSWER} {name}\n")
    return folder


def metadata(folder, lines, kind):
    captions_beside(folder)
    (folder / f"metadata.{kind}").write_text(lines)
    return folder


@pytest.mark.parametrize(
    "write",
    [
        captions_beside,
        lambda folder: metadata(folder, f"file_name,text\nb.jpg,{ANSWER} b\na.jpg,{ANSWER} a\n", "csv"),
        lambda folder: metadata(
            folder, "\n".join(json.dumps({"file_name": f"{n}.jpg", "text": f"{ANSWER} {n}"}) for n in "ab"), "jsonl"
        ),
    ],
)
def test_pictures_with_captions(tmp_path, write):
    data = CaptionedImages(write(tmp_path), prompt=QUESTION)
    conversation = data.read(1)
    assert len(data) == 2 and conversation.id == "b.jpg" and conversation.pictures == [tmp_path / "b.jpg"]
    assert [turn["text"] for turn in conversation.turns] == [QUESTION, f"{ANSWER} b"]


def heic_beside(folder):
    """Two pictures of a kind that Pillow does not open by itself, with captions."""
    for name in ("c", "d"):
        (folder / f"{name}.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
        (folder / f"{name}.txt").write_text(ANSWER)
    return folder


def test_pictures_that_pillow_does_not_open_are_passed_over_by_name(tmp_path):
    with pytest.warns(UserWarning, match="are skipped, 2 that the installed Pillow does not open, such as 'c.heic'"):
        data = load_calibration(str(heic_beside(captions_beside(tmp_path))))
    assert [data.read(index).id for index in range(len(data))] == ["a.jpg", "b.jpg"]


@pytest.mark.skipif(not opens(Path("a.avif")), reason="Pillow reads AVIF since 11.3")
def test_pictures_are_of_any_kind_that_pillow_opens(tmp_path):
    picture(200).save(tmp_path / "a.AVIF")
    (tmp_path / "a.txt").write_text(ANSWER)
    data = load_calibration(str(tmp_path))
    assert len(data) == 1 and reds(data.read(0)) == pytest.approx([200], abs=4)
    spelt = base64.b64encode((tmp_path / "a.AVIF").read_bytes()).decode()
    assert decode(spelt).size == decode(tmp_path / "a.AVIF").size


def test_a_plain_string_is_recognised(tmp_path):
    file, _ = sharegpt4v(tmp_path / "raw", 2)
    (tmp_path / "captions").mkdir()
    found = [saved(tmp_path), parquet(tmp_path), file, captions_beside(tmp_path / "captions")]
    kinds = [HFDataset, HFDataset, ShareGPT4V, CaptionedImages]
    (tmp_path / "raw" / "coco").symlink_to(tmp_path / "raw" / "images" / "coco")
    assert [type(load_calibration(str(path))) for path in found] == kinds


def test_a_folder_of_rows_in_json_is_recognised_by_its_split(tmp_path):
    file, _ = sharegpt4v(tmp_path, 2)
    (tmp_path / "coco").symlink_to(tmp_path / "images" / "coco")
    assert load_calibration(str(tmp_path)).annotations == file
    file.rename(tmp_path / "my_train.json")
    (tmp_path / "my_test.json").write_text("[]")
    data = load_calibration(str(tmp_path))
    assert data.annotations.name == "my_train.json" and reds(data.read(1)) == pytest.approx([1], abs=2)
    (tmp_path / "rows_train.jsonl").touch()
    with pytest.raises(ValueError, match=r"^calibration: .* name one of my_train.json, rows_train.jsonl"):
        load_calibration(str(tmp_path))
    for name in ("my_train.json", "rows_train.jsonl"):
        (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=r"^calibration: .* holds no split 'train' as json .*; found test"):
        load_calibration(str(tmp_path))


def test_the_training_split_of_an_imagefolder_is_recognised(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        metadata(tmp_path / split, f"file_name,text\na.jpg,{split}\n", "csv")
    (tmp_path / "about.json").write_text("{}")
    data = load_calibration(str(tmp_path))
    assert len(data) == 1 and data.read(0).turns[1]["text"] == "train"


def test_the_training_split_of_pictures_with_captions_beside_them(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        captions_beside(tmp_path / split)
    assert load_calibration(str(tmp_path)).folder == tmp_path / "train"
    # A folder of trains among those of other things is no split.
    (tmp_path / "test").rename(tmp_path / "car")
    assert len(load_calibration(str(tmp_path))) == 4


BAD = {
    "columns missing": (
        lambda folder: llava_next_rows(2).rename_column("conversations", "talk").save_to_disk(folder / "rows"),
        lambda folder: HFDataset(folder / "rows"),
        "missing columns conversations; found id, talk, data_source, image",
    ),
    "columns named that are not there": (
        lambda folder: llava_next_rows(2).save_to_disk(folder / "rows"),
        lambda folder: HFDataset(folder / "rows", image="photo"),
        "missing columns photo; found id, conversations",
    ),
    "columns missing in a stream": (
        lambda folder: llava_next_rows(2).remove_columns("image").to_parquet(folder / "rows.parquet"),
        lambda folder: HFStream(folder / "rows.parquet"),
        "missing columns image; found id, conversations, data_source",
    ),
    "columns missing in JSON": (
        lambda folder: (folder / "a.json").write_text('[{"id": 1, "talk": []}]'),
        lambda folder: ShareGPT4V(folder / "a.json"),
        "missing columns conversations; found id, talk",
    ),
    "columns missing in metadata": (
        lambda folder: metadata(folder, "file_name,words\na.jpg,x\n", "csv"),
        CaptionedImages,
        "missing columns text in metadata.csv; found file_name, words",
    ),
    "no such task": (
        lambda folder: llava_next_rows(4, ("a", "b")).save_to_disk(folder / "rows"),
        lambda folder: HFDataset(folder / "rows", task="c"),
        "task 'c' is not in data_source; found a, b",
    ),
    "no column of tasks": (
        lambda folder: llava_next_rows(2).remove_columns("data_source").save_to_disk(folder / "rows"),
        lambda folder: HFDataset(folder / "rows", task="c"),
        "missing columns data_source; found id, conversations, image",
    ),
    "no JSON": (
        lambda folder: (folder / "a.json").write_text("{"),
        lambda folder: ShareGPT4V(folder / "a.json"),
        "is not valid JSON",
    ),
    "more than JSON": (
        lambda folder: (folder / "a.json").write_text("[] and more"),
        lambda folder: ShareGPT4V(folder / "a.json"),
        "is not valid JSON in line 1 ('[] and more')",
    ),
    "JSON that is no list": (
        lambda folder: (folder / "a.json").write_text('{"id": 1}'),
        lambda folder: ShareGPT4V(folder / "a.json"),
        "does not hold a list of rows but an object with the keys id",
    ),
    "no folder of pictures": (
        lambda folder: sharegpt4v(folder, 1),
        lambda folder: ShareGPT4V(folder / "annotations.json", folder / "nowhere"),
        "calibration.images: no such folder",
    ),
    "a picture without caption": (
        lambda folder: (captions_beside(folder) / "b.txt").unlink(),
        CaptionedImages,
        "1 of 2 pictures have no caption, such as 'b.jpg'; expected 'b.txt' beside it",
    ),
    "no picture": (lambda folder: None, CaptionedImages, "no picture in"),
    "no picture that is read": (
        heic_beside,
        CaptionedImages,
        "but 2 that the installed Pillow does not open, such as 'c.heic'; readable suffixes: .jpg",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_are_refused_before_a_model_is_loaded(tmp_path, case):
    write, data, message = BAD[case]
    write(tmp_path)
    with pytest.raises(ValueError, match=r"^calibration") as error:
        load_calibration(data(tmp_path))
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["", " ", "bundled + ", "PlainText:"])
def test_an_empty_name_is_not_the_working_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(captions_beside(tmp_path))
    with pytest.raises(ValueError, match=r"^calibration: .* names no data|^calibration.file: .* cannot be read"):
        load_calibration(name)


@pytest.mark.parametrize("name", ["nowhere", "./nowhere", "nowhere.parquet", "nowhere.json", "ShareGPT4V"])
def test_what_is_nothing_here_is_named(name):
    with pytest.raises(ValueError, match=r"^calibration") as error:
        load_calibration(name)
    assert f"'{name}'" in str(error.value)


def test_drawings_that_stand_in_for_a_models_own_data_are_told(tmp_path, recwarn):
    (tmp_path / "report.json").write_text(json.dumps({"base": {"model": "bundled"}}))
    for model in ("bundled", str(BUNDLED_MODEL), str(tmp_path)):
        assert isinstance(load_calibration(None, model), Bundled)
    assert not recwarn.list and isinstance(load_calibration("bundled", "llava-8b"), Bundled) and not recwarn.list
    with pytest.warns(
        UserWarning, match="calibration: no data were named, .* drawings stand in, .* foreign to llava-8b;"
    ):
        load_calibration(None, "llava-8b")


def test_reports_that_name_each_other_come_to_an_end(tmp_path):
    for folder, base in (("one", "two"), ("two", "one")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "report.json").write_text(
            json.dumps({"schema": 1, "base": {"model": str(tmp_path / base)}})
        )
    assert own_data(str(tmp_path / "one")) == "bundled"
