"""Conversations and pictures as the processor's own chat template wants them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from PIL import Image
from transformers import ProcessorMixin

from atv.data.chat_template import written
from atv.data.pictures import decode, undecoded
from atv.data.turns import MARKER, message
from atv.data.wording import short

# Names of the tokens that a processor or tokenizer keeps for pictures, clips and sounds.
_MEDIA = re.compile(r"(image|img|boi|eoi|video|vision|audio|tile).*_(token|tag)$")


def messages(turns: Sequence[Mapping[str, Any]], pictures: int) -> list[dict[str, Any]]:
    """Chat messages with an image part where a turn says ``<image>``; without any, pictures begin the first user turn.

    Args:
        turns: as ``atv.data.base.Conversation`` has them.
        pictures: how many there are.

    Raises:
        ValueError: for another number of markers than of pictures, or a turn that cannot be read.
    """
    chat = [message(turn) for turn in turns]
    marked = sum(part["type"] == "image" for said in chat for part in said["content"])
    if not marked and pictures:
        first = next((said for said in chat if said["role"] == "user"), None)
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
    pictures = [[] if image is None else [decode(image)] for image in images]
    chats = [messages(turns, len(own)) for turns, own in zip(conversations, pictures, strict=True)]
    return encode_chats(processor, chats, pictures, prompt)


def encode_chats(
    processor: ProcessorMixin,
    chats: Sequence[Sequence[Mapping[str, Any]]],
    pictures: Sequence[Sequence[Image.Image]],
    prompt: bool = False,
) -> dict[str, Any]:
    """The processor's tensors for a batch of chat messages, padded; ``prompt`` opens the assistant's turn.

    Raises:
        ValueError: for several chats and a tokenizer without pad token, or a text that spells out an image token.
        Exception: whatever template and processor raise for what they cannot take.
    """
    _require_padding(processor, len(chats))
    texts = [written(processor, _without_tokens(processor, chat), prompt) for chat in chats]
    present = [list(own) for own in pictures if own]
    # Where the template writes the beginning of the sequence, the tokenizer must not write it again.
    options: dict[str, Any] = {"add_special_tokens": False} if _begins(processor, texts[0]) else {}
    # A batch of one needs no padding, and so no pad token.
    padding = len(texts) > 1
    return dict(processor(images=present or None, text=texts, padding=padding, return_tensors="pt", **options))


def _begins(processor: ProcessorMixin, text: str) -> bool:
    """Whether the text already has what the tokenizer puts before every text."""
    tokenizer: Any = processor.tokenizer
    before = tokenizer("")["input_ids"][:1]
    return bool(before) and tokenizer(text.lstrip()[:256], add_special_tokens=False)["input_ids"][:1] == before


def _require_padding(processor: ProcessorMixin, size: int) -> None:
    if size > 1 and processor.tokenizer.pad_token is None:
        raise ValueError(
            "model: its tokenizer has no pad token, which batches of several samples need; give tokenizer_config.json "
            "a pad_token, or use --batch_size 1"
        )


def _without_tokens(processor: ProcessorMixin, chat: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The chat, if no text in it would be read as a picture."""
    tokens = media_tokens(processor)
    for part in (part for said in chat for part in said["content"] if part["type"] == "text"):
        if spelled := next((token for token in tokens if token in part["text"]), None):
            raise ValueError(f"its text spells out {spelled!r}, which the processor would read as a picture")
    return chat


def media_tokens(processor: ProcessorMixin) -> list[str]:
    """What stands for pictures, clips and sounds in the processor's texts, or brackets them."""
    named: dict[str, Any] = {**processor.tokenizer.special_tokens_map, **vars(processor)}
    return [token for name, token in named.items() if isinstance(token, str) and token and _MEDIA.search(name)]


def require_columns(dataset: Dataset, columns: Sequence[str], field: str) -> None:
    """Checks a data set's columns.

    Raises:
        ValueError: naming the missing columns and those that are there.
    """
    missing = [column for column in columns if column not in dataset.column_names]
    if missing:
        raise ValueError(f"{field}: missing columns {', '.join(missing)}; there are {', '.join(dataset.column_names)}")


def read_row(dataset: Dataset, index: int) -> dict[str, Any]:
    """One row with its picture decoded, or None where there is none.

    A picture is what ``undecoded`` takes for one, paths relative to the folder that the data set was saved to; one that
    the data set decodes keeps its mode.

    Raises:
        ValueError: naming the row when its picture is corrupt or missing, or there are several.
    """
    try:
        row = dataset[index]
        return row | {"image": _loaded(row["image"], _folder(dataset))}
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to.
        raise ValueError(f"image: row {index} of the data set cannot be read: {short(error)}") from error


def _folder(dataset: Dataset) -> Path | None:
    """Where a data set was saved; None for one that is in memory alone."""
    files = dataset.cache_files
    return Path(files[0]["filename"]).parent if files else None


def _loaded(picture: Any, root: Path | None) -> Image.Image | None:
    if isinstance(picture, Image.Image):
        picture.load()
        return picture
    found = undecoded(picture, root)
    return decode(found, root) if found else None
