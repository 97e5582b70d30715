"""Finds the tokens of a conversation that are answers: the loss uses them, and a rule may weight them separately."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import ProcessorMixin

from atv.data.chat_template import rendered_chat
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
        labels[row, valid] = _answer_labels(processor, chat, inputs["input_ids"][row][valid])
    return inputs | {"labels": labels}


def has_answer(chat: Chat) -> bool:
    """Whether there is anything to learn: text in an assistant's turn, besides what ends the turn."""
    answer_parts = (part for message in chat if message["role"] == "assistant" for part in message["content"])
    return any(part.get("text", "").strip() for part in answer_parts)


def ended(processor: ProcessorMixin, chat: Chat) -> Chat:
    """Returns the chat with the end-of-sequence token after each answer that the template does not end (LLaVA-1.5's).

    Raises:
        ValueError: if the tokenizer has no such token.
    """
    numbered_messages = enumerate(chat, 1)
    return [
        _with_end_token(processor, message) if _left_open(processor, chat[:count]) else message
        for count, message in numbered_messages
    ]


def _left_open(processor: ProcessorMixin, chat: Chat) -> bool:
    """Whether the chat's last message is an answer and the template writes nothing after it."""
    if chat[-1]["role"] != "assistant":
        return False
    answer = "".join(part.get("text", "") for part in chat[-1]["content"][-1:]).strip()
    return bool(answer) and rendered_chat(processor, chat).rstrip().endswith(answer)


def _with_end_token(processor: ProcessorMixin, message: Mapping[str, Any]) -> Mapping[str, Any]:
    tokenizer: Any = processor.tokenizer
    if tokenizer.eos_token is None:
        raise ValueError(
            "model: neither its chat template nor its tokenizer says how an answer ends; give tokenizer_config.json an "
            "eos_token"
        )
    *earlier_parts, last_part = message["content"]
    answer = last_part["text"].rstrip().removesuffix(tokenizer.eos_token)
    return {**message, "content": [*earlier_parts, {**last_part, "text": answer + tokenizer.eos_token}]}


def _answer_labels(processor: ProcessorMixin, chat: Chat, ids: Tensor) -> Tensor:
    """Returns the labels of one conversation with the token ids ``ids``.

    The processor writes many tokens for a picture where the template has one. All other tokens occur in both, in the
    same order, so aligning the two sequences finds the answers whatever a processor does with pictures.
    """
    text = rendered_chat(processor, chat)
    encoding: Any = processor.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = list(_answer_spans(processor, chat, text))
    matching_blocks = SequenceMatcher(None, encoding["input_ids"], ids.tolist(), autojunk=False).get_matching_blocks()
    position_of = {block.a + i: block.b + i for block in matching_blocks for i in range(block.size)}
    labels = torch.full_like(ids, IGNORED)
    for token, (start, end) in enumerate(encoding["offset_mapping"]):
        # A token that the processor cut off has no position.
        if token in position_of and any(start < span_end and end > span_start for span_start, span_end in spans):
            labels[position_of[token]] = ids[position_of[token]]
    return labels


def _answer_spans(processor: ProcessorMixin, chat: Chat, text: str) -> Iterator[tuple[int, int]]:
    """Yields the spans of ``text`` that belong to the assistant, up to and including what ends the turn."""
    for index, message in enumerate(chat):
        if message["role"] != "assistant":
            continue
        text_before = rendered_chat(processor, chat[:index], prompt=True)
        text_through = rendered_chat(processor, chat[: index + 1])
        if not (text.startswith(text_before) and text.startswith(text_through)):
            raise ValueError("processor: its chat template does not write a conversation turn after turn")
        yield len(text_before), len(text_through.rstrip())
