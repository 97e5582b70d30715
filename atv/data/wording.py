"""Describes what is wrong with an input in one short line, whatever the input holds."""

from typing import Any

LONGEST = 200


def short(text: Any, longest: int = LONGEST) -> str:
    """Returns one printable line of at most ``longest`` characters; longer text loses its middle.

    >>> short("two\\nlines"), short("x" * 50, 20)
    ('two lines', 'xxxxxxxxxx ... xxxxx')
    """
    line = " ".join(str(text).split())
    if len(line) > longest:
        line = f"{line[: longest // 2]} ... {line[len(line) - (longest - 5 - longest // 2) :]}"
    # Lone surrogates and control characters could break or control the terminal that shows them.
    return "".join(character if character.isprintable() else "?" for character in line)


def quoted(value: Any, longest: int = 60) -> str:
    """Returns a value's Python representation, in at most ``longest`` characters."""
    # Cut before the conversion: a cell may hold a whole picture, most of which would be dropped afterwards.
    return short(repr(value[: 4 * longest] if isinstance(value, str | bytes) else value), longest)


def reason(error: BaseException) -> str:
    """Returns an exception as one short line: its message, after its class unless it is a ValueError or OSError."""
    # An OSError repeats the file's name, which may be megabytes long and which the caller names anyway.
    message = short((isinstance(error, OSError) and error.strerror) or str(error) or "no message")
    return message if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {message}"
