"""Conversations and pictures as the processor's own chat template wants them."""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from PIL import Image
from transformers import ProcessorMixin

MARKER = "<image>"
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def messages(turns: Sequence[Mapping[str, Any]], pictures: int) -> list[dict[str, Any]]:
    """Chat messages with an image part where a turn says ``<image>``; without any, pictures begin the first user turn.

    Args:
        turns: as ``atv.data.base.Conversation`` has them.
        pictures: how many there are.

    Raises:
        ValueError: for another number of markers than of pictures, or a turn that cannot be read.
    """
    chat = [_message(turn) for turn in turns]
    marked = sum(part["type"] == "image" for message in chat for part in message["content"])
    if not marked and pictures:
        first = next((message for message in chat if message["role"] == "user"), None)
        if first is None:
            raise ValueError("no user turn to put the picture in")
        first["content"][:0] = [{"type": "image"}] * pictures
    elif marked != pictures:
        raise ValueError(f"{marked} {MARKER} in the turns for {pictures} pictures")
    return chat


def encode(
    processor: ProcessorMixin,
    conversations: Sequence[Sequence[Mapping[str, Any]]],
    images: Sequence[Image.Image | None],
    prompt: bool = False,
) -> dict[str, Any]:
    """``encode_chats`` of turns with a picture each, or none."""
    pictures = [[] if image is None else [image.convert("RGB")] for image in images]
    chats = [messages(turns, len(shown)) for turns, shown in zip(conversations, pictures, strict=True)]
    return encode_chats(processor, chats, pictures, prompt)


def encode_chats(
    processor: ProcessorMixin,
    chats: Sequence[Sequence[Mapping[str, Any]]],
    pictures: Sequence[Sequence[Image.Image]],
    prompt: bool = False,
) -> dict[str, Any]:
    """The processor's tensors for a batch of chat messages, padded; ``prompt`` opens the assistant's turn."""
    template: Any = processor.apply_chat_template
    texts = [template(chat, add_generation_prompt=prompt) for chat in chats]
    present = [list(shown) for shown in pictures if shown]
    # Where the template writes the beginning of the sequence, the tokenizer must not write it again.
    begin = processor.tokenizer.bos_token
    options: dict[str, Any] = {"add_special_tokens": False} if begin and texts[0].startswith(begin) else {}
    return dict(processor(images=present or None, text=texts, padding=True, return_tensors="pt", **options))


def require_chat_template(processor: ProcessorMixin) -> None:
    """Checks that conversations can be formatted.

    Raises:
        ValueError: naming the processor and what to do.
    """
    if not getattr(processor, "chat_template", None):
        raise ValueError(
            f"model: its processor ({type(processor).__name__}) has no chat template; put one into its folder as "
            "chat_template.jinja"
        )


def require_columns(dataset: Dataset, columns: Sequence[str], field: str) -> None:
    """Checks a data set's columns.

    Raises:
        ValueError: naming the missing columns and those that are there.
    """
    missing = [column for column in columns if column not in dataset.column_names]
    if missing:
        raise ValueError(f"{field}: missing columns {', '.join(missing)}; there are {', '.join(dataset.column_names)}")


def read_row(dataset: Dataset, index: int) -> dict[str, Any]:
    """One row with its picture decoded.

    Raises:
        ValueError: naming the row when its picture is corrupt or missing.
    """
    try:
        row = dataset[index]
        if row["image"] is not None:
            row["image"].load()
        return row
    except (OSError, SyntaxError) as error:
        raise ValueError(f"image: row {index} of the data set cannot be read: {error}") from error


def _message(turn: Mapping[str, Any]) -> dict[str, Any]:
    said = turn.get("from") or turn.get("role")
    if said not in ROLES:
        raise ValueError(f"a turn by {said!r}; known are {', '.join(ROLES)}")
    text = next((turn[key] for key in ("value", "text", "content") if turn.get(key) is not None), None)
    if isinstance(text, list):
        text = "".join(MARKER if part["type"] == "image" else part["text"] for part in text)
    if text is None:
        raise ValueError(f"a turn of {said!r} without value, text or content")
    return {"role": ROLES[said], "content": _parts(text)}


def _parts(text: str) -> list[dict[str, Any]]:
    """Text and pictures in their order; the template decides on the blanks between them."""
    if MARKER not in text:
        return [{"type": "text", "text": text}]
    parts: list[dict[str, Any]] = []
    for number, piece in enumerate(text.split(MARKER)):
        parts += [{"type": "image"}] if number else []
        parts += [{"type": "text", "text": piece.strip()}] if piece.strip() else []
    return parts
