"""Shortens samples that exceed a maximum length: text is cut from the end, pictures stay whole."""

import bisect
from collections.abc import Sequence
from typing import Any

from PIL import Image
from transformers import ProcessorMixin

from atv.data.conversations import encode_chats

Chat = list[dict[str, Any]]


def shortened(
    processor: ProcessorMixin, chat: Chat, pictures: Sequence[Image.Image], max_length: int
) -> tuple[Chat, list[Image.Image]]:
    """Returns the chat and its pictures, shortened to at most ``max_length`` tokens (visual tokens included).

    Whole exchanges are dropped first, with their pictures, starting with the last one. Then the end of the last
    remaining text is cut. This happens before the template and the processor add their own tokens, so no image token
    can be cut.

    Raises:
        ValueError: if the pictures and the template alone are longer.
    """
    chat, kept_pictures = [_copy(message) for message in chat], list(pictures)
    while (excess := _token_count(processor, chat, kept_pictures) - max_length) > 0:
        user_indices = [index for index, message in enumerate(chat) if message["role"] == "user"]
        if len(user_indices) > 1:
            chat = chat[: user_indices[-1]]
            kept_pictures = kept_pictures[: _picture_count(chat)]
        elif not _cut_text(processor, chat, excess):
            raise ValueError(f"{excess} tokens over max_length {max_length} even without text")
    return chat, kept_pictures


def _cut_text(processor: ProcessorMixin, chat: Chat, excess: int) -> bool:
    """Cuts ``excess`` tokens from the end of the last text that is not empty; returns False if there is none."""
    for message in reversed(chat):
        for part in reversed(message["content"]):
            if text := part.get("text"):
                count_tokens = _token_counter(processor)
                kept_tokens = max(count_tokens(text) - excess, 0)
                end = bisect.bisect_right(range(len(text)), kept_tokens, key=lambda end: count_tokens(text[:end])) - 1
                part["text"] = text[: max(end, 0)] if kept_tokens else ""
                return True
    return False


def _token_counter(processor: ProcessorMixin) -> Any:
    return lambda text: len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])


def _token_count(processor: ProcessorMixin, chat: Chat, pictures: Sequence[Image.Image]) -> int:
    return encode_chats(processor, [chat], [pictures])["input_ids"].shape[-1]


def _picture_count(chat: Chat) -> int:
    return sum(part["type"] == "image" for message in chat for part in message["content"])


def _copy(message: dict[str, Any]) -> dict[str, Any]:
    return message | {"content": [dict(part) for part in message["content"]]}
