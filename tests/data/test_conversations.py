from pathlib import Path

import PIL.Image
import pytest
from datasets import Dataset
from tokenizers.processors import TemplateProcessing

from atv.bundled.architecture import build_processor
from atv.bundled.data import calibration_pool, evaluation_set
from atv.data.conversations import encode, messages
from atv.data.sources import load_evaluation
from atv.evaluation.questions import question_batches


@pytest.fixture(scope="module")
def processor():
    return build_processor()


def test_the_chat_template_puts_the_picture_first(processor):
    row = calibration_pool(1)[0]
    batch = encode(processor, [row["conversation"]], [row["image"]])
    text = processor.tokenizer.decode(batch["input_ids"][0])
    assert text.startswith("<user>") and text.replace(" ", "").count("<image>") == 81
    assert (batch["input_ids"] == processor.tokenizer.unk_token_id).sum() == 0
    assert batch["pixel_values"].shape == (1, 3, 54, 54)


def parts(chat):
    return [[part.get("text", "image") for part in message["content"]] for message in chat]


def test_markers_become_pictures_in_their_place():
    said = [("human", "<image>\nleft ?"), ("gpt", "a star"), ("human", "and <image> or <image>"), ("gpt", "no")]
    chat = messages([{"from": role, "value": text} for role, text in said], 3)
    assert [message["role"] for message in chat] == ["user", "assistant", "user", "assistant"]
    assert parts(chat) == [["image", "left ?"], ["a star"], ["and", "image", "or", "image"], ["no"]]


def test_without_markers_pictures_begin_the_first_user_turn():
    said = [{"role": "system", "content": "be brief"}, {"role": "user", "content": [{"type": "text", "text": "hm ?"}]}]
    assert parts(messages(said, 2)) == [["be brief"], ["image", "image", "hm ?"]]
    marked = [{"role": "user", "content": [{"type": "text", "text": "hm"}, {"type": "image"}]}]
    assert parts(messages(marked, 1)) == [["hm", "image"]]
    with pytest.raises(ValueError, match="no user turn"):
        messages(said[:1], 1)


def test_the_beginning_of_the_sequence_is_written_once(processor):
    bare = build_processor()
    bare.tokenizer.add_special_tokens({"bos_token": "<begin>"})
    bare.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<begin> $A", special_tokens=[("<begin>", bare.tokenizer.bos_token_id)]
    )
    turns = [[{"role": "user", "text": "what is there ?"}]]
    for template in (bare.chat_template, "<begin> " + bare.chat_template):
        bare.chat_template = template
        ids = encode(bare, turns, [None])["input_ids"]
        assert int((ids == bare.tokenizer.bos_token_id).sum()) == 1


def test_missing_columns_are_named(processor):
    with pytest.raises(ValueError, match="evaluation data: missing columns question_id"):
        question_batches(processor, Dataset.from_dict({"image": [None]}))


def test_without_a_pad_token_questions_about_one_picture_are_asked_one_by_one():
    from helpers.answered import suite

    bare, questions = build_processor(), suite(1)
    bare.tokenizer.pad_token = None
    batches = question_batches(bare, questions, batch_size=1)
    assert len(batches) == len(questions) > len(question_batches(build_processor(), questions, batch_size=2))


KEPT = {"paths": str, "structs": lambda file: {"bytes": file.read_bytes(), "path": None}, "bytes": Path.read_bytes}


@pytest.mark.parametrize("kind", KEPT)
def test_a_saved_suite_may_keep_its_pictures_in_any_form(processor, kind, tmp_path):
    rows = evaluation_set("dev", 1).select([0])
    rows[0]["image"].save(tmp_path / "a.png")
    kept = rows.remove_columns("image").add_column("image", [KEPT[kind](tmp_path / "a.png")])
    expected, found = (question_batches(processor, each)[0].questions for each in (rows, kept))
    assert found == expected and found[0]["picture"]


def test_paths_in_a_saved_suite_begin_in_its_folder(processor, tmp_path, monkeypatch):
    rows = evaluation_set("dev", 1).select([0])
    saved = tmp_path / "suite"
    rows.remove_columns("image").add_column("image", ["a.png"]).save_to_disk(saved)
    rows[0]["image"].save(saved / "a.png")
    # Another of the same name, where the command is run.
    rows[0]["image"].transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    found = question_batches(processor, load_evaluation(str(saved), "test"))[0].questions
    assert found[0]["picture"] == question_batches(processor, rows)[0].questions[0]["picture"]


def test_a_picture_that_cannot_be_read_is_named_by_its_row(processor, monkeypatch):
    rows = evaluation_set("dev", 1).select([0])
    lost = rows.remove_columns("image").add_column("image", ["nowhere.png"])
    with pytest.raises(ValueError, match=r"image: row 0 of the data set cannot be read: picture 'nowhere.png'"):
        question_batches(processor, lost)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 9)
    with pytest.raises(ValueError, match=r"image: row 0 of the data set cannot be read: .* exceeds limit"):
        question_batches(processor, rows)
