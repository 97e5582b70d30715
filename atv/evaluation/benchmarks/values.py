"""Reads texts, lists of texts and numbers from a benchmark's rows, in the types that copies of its data set have."""

from collections.abc import Mapping, Sequence
from typing import Any

from atv.data.text_files import parsed
from atv.data.turns import plain_text
from atv.data.wording import quoted

# Names of the field that holds a person's answer, or an option, if it is a struct.
_FIELDS = ("answer", "text", "value")


def text(row: Mapping[str, Any], column: str, default: str | None = None) -> str:
    """Reads a text, or a number as text; a list or struct that holds a single text is read as that text.

    Args:
        default: what a null stands for; without it, a null is an error.

    Raises:
        ValueError: naming the column and what it holds.
    """
    value = row[column]
    if value is None and default is not None:
        return default
    if isinstance(value, Mapping | list):
        entries = texts(row, column)
        if len(entries) != 1:
            raise ValueError(f"column {column!r} holds {quoted(value)}; expected one text")
        return entries[0]
    return plain_text(value, f"column {column!r}")


def texts(row: Mapping[str, Any], column: str) -> tuple[str, ...]:
    """Reads a list of texts, numbers or structs, a struct of lists, options by letter, or any of these as JSON.

    Raises:
        ValueError: naming the column and what it holds.
    """
    value = row[column]
    parsed_value = parsed(value) if isinstance(value, str) else value
    if isinstance(parsed_value, Mapping):
        parsed_value = _struct_content(parsed_value)
    if isinstance(parsed_value, str | bytes) or not isinstance(parsed_value, Sequence) or not parsed_value:
        raise ValueError(f"column {column!r} holds {quoted(value)}, a {type(value).__name__}; expected a list of texts")
    return tuple(plain_text(_field_content(entry), f"an entry of column {column!r}") for entry in parsed_value)


def whole_number(row: Mapping[str, Any], column: str) -> int:
    """Reads a whole number, which may also be a text, or a float without a fractional part.

    Raises:
        ValueError: naming the column and what it holds.
    """
    value = row[column]
    try:
        integer = None if isinstance(value, bool) else int(value)
        if integer is not None and integer == float(value):
            return integer
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"column {column!r} holds {quoted(value)}, a {type(value).__name__}; expected a whole number")


def one_of(value: str, choices: Sequence[str], column: str) -> str:
    """Returns what the row says if it is one of the choices.

    Raises:
        ValueError: naming the column, what it holds and the choices.
    """
    if value not in choices:
        raise ValueError(f"column {column!r} holds {quoted(value)}; expected one of {', '.join(choices) or 'none'}")
    return value


def _struct_content(value: Mapping[str, Any]) -> Any:
    content = next((value[key] for key in _FIELDS if key in value), None)
    if content is not None:
        return content if isinstance(content, list) else [content]
    if value and all(isinstance(key, str) and len(key) == 1 and key.isupper() for key in value):
        return [value[letter] for letter in sorted(value) if value[letter] is not None]
    return value


def _field_content(entry: Any) -> Any:
    return next((entry[key] for key in _FIELDS if key in entry), entry) if isinstance(entry, Mapping) else entry
