"""Finds the tokens of a conversation that are answers: the loss uses them, and a rule may weight them separately."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import ProcessorMixin

from atv.data.chat_template import written
from atv.data.conversations import encode_chats

IGNORED = -100
Chat = Sequence[Mapping[str, Any]]


def labelled(
    processor: ProcessorMixin, chats: Sequence[Chat], pictures: Sequence[Sequence[Image.Image]]
) -> dict[str, Any]:
    """Encodes a batch with ``encode_chats`` and adds ``labels`` (batch, length): ids of answers, -100 elsewhere.

    Raises:
        ValueError: if the chat template does not write turn after turn.
    """
    inputs = encode_chats(processor, chats, pictures)
    labels = torch.full_like(inputs["input_ids"], IGNORED)
    for row, chat in enumerate(chats):
        valid = inputs["attention_mask"][row].bool()
        labels[row, valid] = _answers(processor, chat, inputs["input_ids"][row][valid])
    return inputs | {"labels": labels}


def has_answer(chat: Chat) -> bool:
    """Whether there is anything to learn: text in an assistant's turn, besides what ends the turn."""
    said = (part for message in chat if message["role"] == "assistant" for part in message["content"])
    return any(part.get("text", "").strip() for part in said)


def ended(processor: ProcessorMixin, chat: Chat) -> Chat:
    """Returns the chat with the end-of-sequence token after each answer that the template, as LLaVA-1.5's, leaves open.

    Raises:
        ValueError: if the tokenizer has no such token.
    """
    given = enumerate(chat, 1)
    return [_ended(processor, said) if _left_open(processor, chat[:count]) else said for count, said in given]


def _left_open(processor: ProcessorMixin, chat: Chat) -> bool:
    """Whether the chat's last message is an answer and the template writes nothing after it."""
    if chat[-1]["role"] != "assistant":
        return False
    said = "".join(part.get("text", "") for part in chat[-1]["content"][-1:]).strip()
    return bool(said) and written(processor, chat).rstrip().endswith(said)


def _ended(processor: ProcessorMixin, message: Mapping[str, Any]) -> Mapping[str, Any]:
    tokenizer: Any = processor.tokenizer
    if tokenizer.eos_token is None:
        raise ValueError(
            "model: neither its chat template nor its tokenizer says how an answer ends; give tokenizer_config.json an "
            "eos_token"
        )
    *before, last = message["content"]
    said = last["text"].rstrip().removesuffix(tokenizer.eos_token)
    return {**message, "content": [*before, {**last, "text": said + tokenizer.eos_token}]}


def _answers(processor: ProcessorMixin, chat: Chat, ids: Tensor) -> Tensor:
    """Returns the labels of one conversation with the token ids ``ids``.

    The processor writes many tokens for a picture where the template has one. All other tokens occur in both, in the
    same order, so aligning the two sequences finds the answers whatever a processor does with pictures.
    """
    text = written(processor, chat)
    plain: Any = processor.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = list(_answer_spans(processor, chat, text))
    matched = SequenceMatcher(None, plain["input_ids"], ids.tolist(), autojunk=False).get_matching_blocks()
    place = {block.a + i: block.b + i for block in matched for i in range(block.size)}
    labels = torch.full_like(ids, IGNORED)
    for token, (start, end) in enumerate(plain["offset_mapping"]):
        # A token that the processor cut off has no position.
        if token in place and any(start < last and end > first for first, last in spans):
            labels[place[token]] = ids[place[token]]
    return labels


def _answer_spans(processor: ProcessorMixin, chat: Chat, text: str) -> Iterator[tuple[int, int]]:
    """Yields the spans of ``text`` that belong to the assistant, up to and including what ends the turn."""
    for index, message in enumerate(chat):
        if message["role"] != "assistant":
            continue
        opening = written(processor, chat[:index], prompt=True)
        closed = written(processor, chat[: index + 1])
        if not (text.startswith(opening) and text.startswith(closed)):
            raise ValueError("processor: its chat template does not write a conversation turn after turn")
        yield len(opening), len(closed.rstrip())
