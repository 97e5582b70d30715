"""Conversations and pictures in the form that the processor's own chat template expects."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from PIL import Image
from transformers import ProcessorMixin

from atv.data.chat_template import rendered_chat
from atv.data.pictures import decode, undecoded
from atv.data.turns import MARKER, message
from atv.data.wording import short

# Names under which a processor or tokenizer keeps its tokens for pictures, clips and sounds.
_MEDIA = re.compile(r"(image|img|boi|eoi|video|vision|audio|tile).*_(token|tag)$")


def messages(turns: Sequence[Mapping[str, Any]], pictures: int) -> list[dict[str, Any]]:
    """Returns chat messages with an image part for each ``<image>``; without any, pictures start the first user turn.

    Args:
        turns: as in ``atv.data.base.Conversation``.
        pictures: number of pictures.

    Raises:
        ValueError: if the numbers of markers and pictures differ, or a turn cannot be read.
    """
    chat = [message(turn) for turn in turns]
    markers = sum(part["type"] == "image" for chat_message in chat for part in chat_message["content"])
    if not markers and pictures:
        first_user_turn = next((chat_message for chat_message in chat if chat_message["role"] == "user"), None)
        if first_user_turn is None:
            raise ValueError("no user turn to put the picture in")
        first_user_turn["content"][:0] = [{"type": "image"}] * pictures
    elif markers != pictures:
        raise ValueError(f"{markers} {MARKER} in the turns for {pictures} pictures")
    return chat


def encode(
    processor: ProcessorMixin,
    conversations: Sequence[Sequence[Mapping[str, Any]]],
    images: Sequence[Image.Image | None],
    prompt: bool = False,
) -> dict[str, Any]:
    """Calls ``encode_chats`` for conversations with one picture each, or none."""
    pictures = [[] if image is None else [decode(image)] for image in images]
    chats = [
        messages(turns, len(sample_pictures)) for turns, sample_pictures in zip(conversations, pictures, strict=True)
    ]
    return encode_chats(processor, chats, pictures, prompt)


def encode_chats(
    processor: ProcessorMixin,
    chats: Sequence[Sequence[Mapping[str, Any]]],
    pictures: Sequence[Sequence[Image.Image]],
    prompt: bool = False,
) -> dict[str, Any]:
    """Returns the processor's tensors for a batch of chat messages, padded; ``prompt`` opens the assistant's turn.

    Raises:
        ValueError: if there are several chats and the tokenizer has no pad token, or a text spells out an image token.
        Exception: whatever the template or processor raises for input that it rejects.
    """
    _require_padding(processor, len(chats))
    texts = [rendered_chat(processor, _checked_chat(processor, chat), prompt) for chat in chats]
    picture_lists = [list(sample_pictures) for sample_pictures in pictures if sample_pictures]
    # If the template writes the beginning of the sequence, the tokenizer must not write it again.
    options: dict[str, Any] = {"add_special_tokens": False} if _has_start_token(processor, texts[0]) else {}
    # A batch of one needs no padding, and therefore no pad token.
    padding = len(texts) > 1
    return dict(processor(images=picture_lists or None, text=texts, padding=padding, return_tensors="pt", **options))


def _has_start_token(processor: ProcessorMixin, text: str) -> bool:
    """Whether the text already starts with the token that the tokenizer puts before every text."""
    tokenizer: Any = processor.tokenizer
    start_ids = tokenizer("")["input_ids"][:1]
    return bool(start_ids) and tokenizer(text.lstrip()[:256], add_special_tokens=False)["input_ids"][:1] == start_ids


def _require_padding(processor: ProcessorMixin, size: int) -> None:
    if size > 1 and processor.tokenizer.pad_token is None:
        raise ValueError(
            "model: its tokenizer has no pad token, which batches of several samples need; give tokenizer_config.json "
            "a pad_token, or use --batch_size 1"
        )


def _checked_chat(processor: ProcessorMixin, chat: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Returns the chat; raises ValueError if any text in it would be read as a picture."""
    tokens = media_tokens(processor)
    for part in (part for chat_message in chat for part in chat_message["content"] if part["type"] == "text"):
        if spelled_token := next((token for token in tokens if token in part["text"]), None):
            raise ValueError(f"its text spells out {spelled_token!r}, which the processor would read as a picture")
    return chat


def media_tokens(processor: ProcessorMixin) -> list[str]:
    """Returns the tokens that stand for pictures, clips and sounds in the processor's texts, or enclose them."""
    attributes: dict[str, Any] = {**processor.tokenizer.special_tokens_map, **vars(processor)}
    return [token for name, token in attributes.items() if isinstance(token, str) and token and _MEDIA.search(name)]


def require_columns(dataset: Dataset, columns: Sequence[str], field: str) -> None:
    """Checks that a data set has the columns.

    Raises:
        ValueError: if any is missing; the message lists the missing columns and the existing ones.
    """
    missing = [column for column in columns if column not in dataset.column_names]
    if missing:
        raise ValueError(f"{field}: missing columns {', '.join(missing)}; found {', '.join(dataset.column_names)}")


def read_row(dataset: Dataset, index: int) -> dict[str, Any]:
    """Returns one row with its picture decoded; ``image`` is None if the row has no picture.

    A picture is anything that ``undecoded`` accepts, with paths relative to the folder that the data set was saved to.
    A picture that the data set decodes keeps its mode.

    Raises:
        ValueError: if the picture is corrupt or missing, or there are several; the message names the row.
    """
    try:
        row = dataset[index]
        return row | {"image": _loaded(row["image"], _folder(dataset))}
    except Exception as error:  # Pillow's decoders can raise anything on a broken file.
        raise ValueError(f"image: row {index} of the data set cannot be read: {short(error)}") from error


def _folder(dataset: Dataset) -> Path | None:
    """Returns the folder that a data set was saved to; None if it is only in memory."""
    files = dataset.cache_files
    return Path(files[0]["filename"]).parent if files else None


def _loaded(picture: Any, root: Path | None) -> Image.Image | None:
    if isinstance(picture, Image.Image):
        picture.load()
        return picture
    pictures = undecoded(picture, root)
    return decode(pictures, root) if pictures else None
