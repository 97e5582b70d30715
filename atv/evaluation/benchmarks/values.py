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
        found = texts(row, column)
        if len(found) != 1:
            raise ValueError(f"column {column!r} holds {quoted(value)}; expected one text")
        return found[0]
    return plain_text(value, f"column {column!r}")


def texts(row: Mapping[str, Any], column: str) -> tuple[str, ...]:
    """Reads a list of texts, numbers or structs, a struct of lists, options by letter, or any of these as JSON.

    Raises:
        ValueError: naming the column and what it holds.
    """
    value = row[column]
    read = parsed(value) if isinstance(value, str) else value
    if isinstance(read, Mapping):
        read = _of_struct(read)
    if isinstance(read, str | bytes) or not isinstance(read, Sequence) or not read:
        raise ValueError(f"column {column!r} holds {quoted(value)}, a {type(value).__name__}; expected a list of texts")
    return tuple(plain_text(_inner(each), f"an entry of column {column!r}") for each in read)


def number(row: Mapping[str, Any], column: str) -> int:
    """Reads a whole number, which may also be a text, or a float without a fractional part.

    Raises:
        ValueError: naming the column and what it holds.
    """
    value = row[column]
    try:
        whole = None if isinstance(value, bool) else int(value)
        if whole is not None and whole == float(value):
            return whole
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"column {column!r} holds {quoted(value)}, a {type(value).__name__}; expected a whole number")


def one_of(said: str, choices: Sequence[str], column: str) -> str:
    """Returns what the row says if it is one of the choices.

    Raises:
        ValueError: naming the column, what it holds and the choices.
    """
    if said not in choices:
        raise ValueError(f"column {column!r} holds {quoted(said)}; expected one of {', '.join(choices) or 'none'}")
    return said


def _of_struct(value: Mapping[str, Any]) -> Any:
    named = next((value[key] for key in _FIELDS if key in value), None)
    if named is not None:
        return named if isinstance(named, list) else [named]
    if value and all(isinstance(key, str) and len(key) == 1 and key.isupper() for key in value):
        return [value[letter] for letter in sorted(value) if value[letter] is not None]
    return value


def _inner(each: Any) -> Any:
    return next((each[key] for key in _FIELDS if key in each), each) if isinstance(each, Mapping) else each
