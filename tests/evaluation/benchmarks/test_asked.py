"""Prompts with their pictures."""

from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from helpers.benchmark_data import COLORS, pope
from tokenizers.processors import TemplateProcessing

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


def with_rows(loaded, change):
    """The benchmark on rows that ``change`` altered, checked as if they had been loaded."""
    rows = pope().to_pylist()
    for number, row in enumerate(rows):
        change(number, row)
    altered = Dataset.from_list(rows).cast(loaded.rows.features)
    return replace(loaded, rows=altered)


@pytest.mark.parametrize("left", [0, 5])
def test_a_picture_without_header_is_named_before_any_is_asked(data, left):
    def cut(number, row):
        if number in (3, 4):
            row["image"]["bytes"] = row["image"]["bytes"][:left] if left else None
            row["image"]["path"] = None

    loaded = with_rows(load_benchmark("POPE", data), cut)
    with pytest.raises(ValueError, match=r"POPE: the picture of question 'popular/1' is broken: .* \(2 of 6 questions"):
        loaded.require_pictures()


def test_a_picture_cut_off_in_the_middle_costs_its_question_alone(data):
    def cut(number, row):
        if number == 4:
            row["image"]["bytes"] = row["image"]["bytes"][:60]

    loaded, faults = with_rows(load_benchmark("POPE", data), cut), {}
    loaded.require_pictures()
    batches = [batch.askable() for batch in loaded.batches(load_processor(BUNDLED_MODEL), 4, faults=faults)]
    assert sum(len(batch.questions) for batch in batches) == len(COLORS) - 1
    assert all(len(batch.inputs["input_ids"]) == len(batch.questions) for batch in batches)
    assert all(torch.is_tensor(batch.inputs["pixel_values"]) for batch in batches)
    (name,) = faults
    assert name == "popular/2" and "cannot be read" in faults[name]


def test_the_beginning_of_the_sequence_is_written_once(data):
    processor = load_processor(BUNDLED_MODEL)
    tokenizer = processor.tokenizer
    tokenizer.add_special_tokens({"bos_token": "<begin>"})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<begin> $A", special_tokens=[("<begin>", tokenizer.bos_token_id)]
    )
    template = processor.chat_template
    for beginning in ("", "<begin>", "\n <begin>"):
        processor.chat_template = beginning + template
        (batch,) = load_benchmark("MMMU", data).batches(processor)
        assert ((batch.inputs["input_ids"] == tokenizer.bos_token_id).sum(1) == 1).all()
