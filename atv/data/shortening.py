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
    chat, seen = [_copy(message) for message in chat], list(pictures)
    while (excess := _length(processor, chat, seen) - max_length) > 0:
        users = [number for number, message in enumerate(chat) if message["role"] == "user"]
        if len(users) > 1:
            chat = chat[: users[-1]]
            seen = seen[: _pictures(chat)]
        elif not _cut(processor, chat, excess):
            raise ValueError(f"{excess} tokens over max_length {max_length} even without text")
    return chat, seen


def _cut(processor: ProcessorMixin, chat: Chat, excess: int) -> bool:
    """Cuts ``excess`` tokens from the end of the last text that is not empty; returns False if there is none."""
    for message in reversed(chat):
        for part in reversed(message["content"]):
            if text := part.get("text"):
                count = _counter(processor)
                wanted = max(count(text) - excess, 0)
                end = bisect.bisect_right(range(len(text)), wanted, key=lambda end: count(text[:end])) - 1
                part["text"] = text[: max(end, 0)] if wanted else ""
                return True
    return False


def _counter(processor: ProcessorMixin) -> Any:
    return lambda text: len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])


def _length(processor: ProcessorMixin, chat: Chat, pictures: Sequence[Image.Image]) -> int:
    return encode_chats(processor, [chat], [pictures])["input_ids"].shape[-1]


def _pictures(chat: Chat) -> int:
    return sum(part["type"] == "image" for message in chat for part in message["content"])


def _copy(message: dict[str, Any]) -> dict[str, Any]:
    return message | {"content": [dict(part) for part in message["content"]]}
