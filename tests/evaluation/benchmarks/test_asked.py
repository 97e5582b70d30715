"""Prompts with their pictures."""

import pytest
import torch
from datasets import Dataset
from helpers.benchmark_data import COLORS, pope

from atv.bundled import BUNDLED_MODEL
from atv.evaluation.benchmarks.asked import user_turn
from atv.evaluation.benchmarks.loaded import load_benchmark
from atv.model.loading import load_processor

IMAGE = {"type": "image"}


def text(said):
    return {"type": "text", "text": said}


@pytest.mark.parametrize(
    ("said", "parts", "shown"),
    [
        ("What?\nBriefly.", [IMAGE, IMAGE, text("What?\nBriefly.")], "ab"),
        ("See <image 1> and <image 2>.", [text("See"), IMAGE, text("and"), IMAGE, text(".")], "ab"),
        ("<image 2> <image 1>", [IMAGE, IMAGE], "ba"),
        ("<image 2>, again <image 2>", [IMAGE, text(", again <image 2>")], "b"),
        ("No <image 3>, <image 1>", [text("No <image 3>,"), IMAGE], "a"),
    ],
)
def test_a_picture_stands_where_it_is_first_named(said, parts, shown):
    assert user_turn(said, {1: "a", 2: "b"}) == (parts, list(shown))


def test_prompts_are_padded_on_the_left_and_bring_every_picture(data):
    processor = load_processor(BUNDLED_MODEL)
    (batch,) = load_benchmark("MMMU", data).batches(processor)
    inputs = batch.inputs
    assert len(inputs["pixel_values"]) == 3
    assert inputs["attention_mask"][:, -1].all() and not inputs["attention_mask"][:, 0].all()
    assistant = processor.tokenizer.convert_tokens_to_ids("<assistant>")
    assert (inputs["input_ids"][:, -1] == assistant).all()


def test_batches_hold_every_question_once_but_those_left_out(data):
    loaded = load_benchmark("MMBench", data)
    batches = loaded.batches(None, batch_size=4, without={"0", "1000001"})
    names = [question["question_id"] for batch in batches for question in batch.questions]
    everything = {each.question["question_id"] for each in loaded.questions}
    assert [len(batch.questions) for batch in batches] == [4, 3]
    assert sorted(names) == sorted(everything - {"0", "1000001"})


def test_a_broken_picture_is_named(data):
    rows = pope().to_pylist()
    rows[4]["image"]["bytes"] = rows[4]["image"]["bytes"][:40]
    loaded = load_benchmark("POPE", data)
    broken = Dataset.from_list(rows).cast(loaded.rows.features)
    batches = type(loaded)(loaded.benchmark, broken, loaded.questions, "local").batches(
        load_processor(BUNDLED_MODEL), 1
    )
    inputs = [batch.inputs for batch in batches if batch.questions[0]["question_id"] != "popular/2"]
    assert len(inputs) == len(COLORS) - 1 and all(torch.is_tensor(each["pixel_values"]) for each in inputs)
    with pytest.raises(ValueError, match="POPE: the picture of question 'popular/2' is broken"):
        next(batch.inputs for batch in batches if batch.questions[0]["question_id"] == "popular/2")
