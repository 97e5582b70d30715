"""Which tokens of a conversation are answers: the loss is taken on these."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import ProcessorMixin

from atv.data.conversations import encode, messages

IGNORED = -100
Turns = Sequence[Mapping[str, str]]


def labelled(
    processor: ProcessorMixin, conversations: Sequence[Turns], images: Sequence[Image.Image | None]
) -> dict[str, Any]:
    """A batch as ``encode`` makes it, with ``labels`` (batch, length): the ids of answers, -100 elsewhere.

    Raises:
        ValueError: for a conversation without an answer, or a chat template that does not write turn after turn.
    """
    inputs = encode(processor, conversations, images)
    labels = torch.full_like(inputs["input_ids"], IGNORED)
    for row, (turns, image) in enumerate(zip(conversations, images, strict=True)):
        valid = inputs["attention_mask"][row].bool()
        labels[row, valid] = _answers(processor, turns, image, inputs["input_ids"][row][valid])
    return inputs | {"labels": labels}


def _answers(processor: ProcessorMixin, turns: Turns, image: Image.Image | None, ids: Tensor) -> Tensor:
    """The labels of one conversation whose tokens are ``ids``.

    The processor writes many tokens for a picture where the template has one. All others are there in both, in the
    same order, so aligning the two finds the answers whatever a processor does with pictures.
    """
    text = processor.apply_chat_template(messages(turns, image))
    plain = processor.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = list(answer_spans(processor, turns, image, text))
    matched = SequenceMatcher(None, plain["input_ids"], ids.tolist(), autojunk=False).get_matching_blocks()
    place = {block.a + i: block.b + i for block in matched for i in range(block.size)}
    labels = torch.full_like(ids, IGNORED)
    for token, (start, end) in enumerate(plain["offset_mapping"]):
        # A token that was cut off has no place.
        if token in place and any(start < last and end > first for first, last in spans):
            labels[place[token]] = ids[place[token]]
    return labels


def answer_spans(
    processor: ProcessorMixin, turns: Turns, image: Image.Image | None, text: str
) -> Iterator[tuple[int, int]]:
    """The characters of ``text`` that are the assistant's, up to and with what ends the turn.

    Raises:
        ValueError: as ``labelled`` does.
    """
    if not any(turn["role"] == "assistant" for turn in turns):
        raise ValueError("calibration: a conversation has no turn of the assistant, so there is nothing to learn")
    for index, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        opening = processor.apply_chat_template(messages(turns[:index], image), add_generation_prompt=True)
        closed = processor.apply_chat_template(messages(turns[: index + 1], image))
        if not (text.startswith(opening) and text.startswith(closed)):
            raise ValueError("processor: its chat template does not write a conversation turn after turn")
        yield len(opening), len(closed.rstrip())
