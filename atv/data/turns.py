"""Converts the turns of a conversation, whatever their keys and nesting, to chat messages with parts."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atv.data.base import Picture
from atv.data.pictures import undecoded
from atv.data.text_files import parsed
from atv.data.wording import quoted

MARKER = "<image>"
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
# Types of message parts in the chat formats of several vendors.
_TEXT_TYPES = ("text", "input_text", "output_text")
_PICTURE_TYPES = ("image", "image_url", "input_image")

Message = dict[str, Any]


def turns_of(value: Any) -> list[Mapping[str, Any]]:
    """Returns the turns in a cell: a list, a list written as JSON or Python, or a struct of lists.

    Raises:
        ValueError: if the cell holds anything else, or no turn.
    """
    turns = parsed(value) if isinstance(value, str) else value
    if isinstance(turns, Mapping):
        turns = _from_columns(turns)
    if not isinstance(turns, Sequence) or not all(isinstance(turn, Mapping) for turn in turns):
        raise ValueError(f"its turns are {quoted(value)}; expected a list of {{from, value}} or {{role, content}}")
    if not turns:
        raise ValueError("it has no turns")
    return list(turns)


def captioned(prompt: str, caption: Any) -> list[Mapping[str, Any]]:
    """Returns the turns for a picture with a caption, which answers the prompt.

    Raises:
        ValueError: if the caption is not text.
    """
    return [{"role": "user", "text": prompt}, {"role": "assistant", "text": plain_text(caption, "its caption")}]


def message(turn: Mapping[str, Any]) -> Message:
    """Converts a turn to {role, content: [{type: text, text} or {type: image}]}.

    Raises:
        ValueError: if the speaker is unknown, the turn holds no text, or the assistant's text holds a picture marker.
    """
    speaker = turn.get("from") or turn.get("role")
    if not isinstance(speaker, str) or speaker not in ROLES:
        raise ValueError(f"a turn by {quoted(speaker)}; expected one of {', '.join(ROLES)}")
    content = next((turn[key] for key in ("value", "text", "content") if turn.get(key) is not None), None)
    if content is None:
        raise ValueError(f"a turn of {speaker!r} without value, text or content")
    # In plain text the marker may be mere words, and would move the picture; explicit image parts are allowed.
    if isinstance(content, str) and MARKER in content and ROLES[speaker] == "assistant":
        raise ValueError(f"a turn of {speaker!r} spells out {MARKER!r}, which marks a picture in the user's turns")
    if isinstance(content, Mapping):
        content = [content]
    if isinstance(content, Sequence) and not isinstance(content, str | bytes):
        content = "".join(_part_text(part) for part in content)
    return {"role": ROLES[speaker], "content": _split_parts(plain_text(content, f"a turn of {speaker!r}"))}


def plain_text(value: Any, description: str) -> str:
    """Returns text, or a number as text; ``description`` names the value in messages.

    Raises:
        ValueError: if the value has a different type, or holds half a surrogate pair, which no tokenizer accepts.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{description} is {quoted(value)}, a {type(value).__name__}; expected text")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{description} is {value}; expected text")
    text = str(value)
    if lone_surrogate := next((character for character in text if "\ud800" <= character <= "\udfff"), None):
        raise ValueError(
            f"{description} holds half a surrogate pair (U+{ord(lone_surrogate):04X}), which is not valid text"
        )
    return text


def pictures_in(turns: Sequence[Mapping[str, Any]], root: Path | None = None) -> list[Picture]:
    """Returns the pictures inside the parts of turns, such as OpenAI's ``image_url``.

    Relative paths start from the folder ``root``.

    Raises:
        ValueError: if one is not a picture, or is a URL.
    """
    contents = (turn.get(key) for turn in turns for key in ("value", "text", "content"))
    parts = (part for parts in contents if isinstance(parts, Sequence) and not isinstance(parts, str) for part in parts)
    values = (_picture_in(part) for part in parts if isinstance(part, Mapping) and part.get("type") in _PICTURE_TYPES)
    return [picture for value in values for picture in undecoded(value, root)]


def _picture_in(part: Mapping[str, Any]) -> Any:
    """Returns the fields of an image part that hold its picture; None if there are none."""
    fields = {key: value for key, value in part.items() if key not in ("type", "text", "detail") and value is not None}
    return fields or None


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    part_type = part.get("type") if isinstance(part, Mapping) else None
    if part_type in _PICTURE_TYPES:
        return MARKER
    if part_type in _TEXT_TYPES or (isinstance(part, Mapping) and part_type is None and part.get("text") is not None):
        return plain_text(part.get("text"), "the text of a part")
    raise ValueError(f"a part of kind {quoted(part_type)} ({quoted(part)}); expected text or image")


def _split_parts(text: str) -> list[dict[str, Any]]:
    """Splits text into text and image parts, in order; the template decides on the spaces between them."""
    if MARKER not in text:
        return [{"type": "text", "text": text}]
    parts: list[dict[str, Any]] = []
    for index, piece in enumerate(text.split(MARKER)):
        parts += [{"type": "image"}] if index else []
        parts += [{"type": "text", "text": piece.strip()}] if piece.strip() else []
    return parts


def _from_columns(turns: Mapping[str, Any]) -> Any:
    """Converts a struct of lists, as some writers store a list of structs; returns a single turn unchanged."""
    columns = {key: value for key, value in turns.items() if isinstance(value, Sequence) and not isinstance(value, str)}
    if not columns or len({len(value) for value in columns.values()}) != 1 or columns.keys() != turns.keys():
        return turns
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
