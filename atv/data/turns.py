"""The turns of a conversation, whatever its source calls and nests them, as chat messages with parts."""

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
# Kinds of a part, as chat messages of several makers call them.
_TEXTS = ("text", "input_text", "output_text")
_PICTURES = ("image", "image_url", "input_image")

Message = dict[str, Any]


def turns_of(value: Any) -> list[Mapping[str, Any]]:
    """The turns in a cell: a list of them, the same in JSON or as Python writes it, or a struct of lists.

    Raises:
        ValueError: for anything else, and for no turn at all.
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
    """The turns of a picture with a caption, which answers the prompt.

    Raises:
        ValueError: for a caption that is no text.
    """
    return [{"role": "user", "text": prompt}, {"role": "assistant", "text": plain_text(caption, "its caption")}]


def message(turn: Mapping[str, Any]) -> Message:
    """A turn as {role, content: [{type: text, text} or {type: image}]}.

    Raises:
        ValueError: for an unknown speaker, words that are none, or the marker of a picture in the assistant's.
    """
    said = turn.get("from") or turn.get("role")
    if not isinstance(said, str) or said not in ROLES:
        raise ValueError(f"a turn by {quoted(said)}; known are {', '.join(ROLES)}")
    words = next((turn[key] for key in ("value", "text", "content") if turn.get(key) is not None), None)
    if words is None:
        raise ValueError(f"a turn of {said!r} without value, text or content")
    # What may be words there would move the picture; where parts say that one is meant, it is.
    if isinstance(words, str) and MARKER in words and ROLES[said] == "assistant":
        raise ValueError(f"a turn of {said!r} spells out {MARKER!r}, which marks a picture in what the user says")
    if isinstance(words, Mapping):
        words = [words]
    if isinstance(words, Sequence) and not isinstance(words, str | bytes):
        words = "".join(_of_part(part) for part in words)
    return {"role": ROLES[said], "content": _parts(plain_text(words, f"a turn of {said!r}"))}


def plain_text(value: Any, what: str) -> str:
    """A text, or a number as one; ``what`` names it in messages.

    Raises:
        ValueError: for another type, and for half of a surrogate pair, which no tokenizer takes.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{what} is {quoted(value)}, a {type(value).__name__}; expected text")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{what} is {value}; expected text")
    text = str(value)
    if lone := next((character for character in text if "\ud800" <= character <= "\udfff"), None):
        raise ValueError(f"{what} holds half a surrogate pair (U+{ord(lone):04X}), which is no text")
    return text


def pictures_in(turns: Sequence[Mapping[str, Any]], root: Path | None = None) -> list[Picture]:
    """Pictures that parts of the turns bring themselves, as OpenAI's ``image_url`` does; ``root`` is the folder of
    relative paths.

    Raises:
        ValueError: for one that is no picture, or a URL.
    """
    lists = (turn.get(key) for turn in turns for key in ("value", "text", "content"))
    parts = (part for parts in lists if isinstance(parts, Sequence) and not isinstance(parts, str) for part in parts)
    brought = (_brought(part) for part in parts if isinstance(part, Mapping) and part.get("type") in _PICTURES)
    return [picture for value in brought for picture in undecoded(value, root)]


def _brought(part: Mapping[str, Any]) -> Any:
    held = {key: value for key, value in part.items() if key not in ("type", "text", "detail") and value is not None}
    return held or None


def _of_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in _PICTURES:
        return MARKER
    if kind in _TEXTS or (isinstance(part, Mapping) and kind is None and part.get("text") is not None):
        return plain_text(part.get("text"), "the text of a part")
    raise ValueError(f"a part of kind {quoted(kind)} ({quoted(part)}); known are text and image")


def _parts(text: str) -> list[dict[str, Any]]:
    """Text and pictures in their order; the template decides on the blanks between them."""
    if MARKER not in text:
        return [{"type": "text", "text": text}]
    parts: list[dict[str, Any]] = []
    for number, piece in enumerate(text.split(MARKER)):
        parts += [{"type": "image"}] if number else []
        parts += [{"type": "text", "text": piece.strip()}] if piece.strip() else []
    return parts


def _from_columns(turns: Mapping[str, Any]) -> Any:
    """A list of structs, which some writers store as a struct of lists; one turn by itself stays what it is."""
    columns = {key: value for key, value in turns.items() if isinstance(value, Sequence) and not isinstance(value, str)}
    if not columns or len({len(value) for value in columns.values()}) != 1 or columns.keys() != turns.keys():
        return turns
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
