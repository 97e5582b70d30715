"""What is wrong with an input, said in one short line whatever the input holds."""

from typing import Any

LONGEST = 200


def short(text: Any, longest: int = LONGEST) -> str:
    """One printable line of at most ``longest`` characters; a longer text loses its middle.

    >>> short("two\\nlines"), short("x" * 50, 20)
    ('two lines', 'xxxxxxxxxx ... xxxxx')
    """
    line = " ".join(str(text).split())
    if len(line) > longest:
        line = f"{line[: longest // 2]} ... {line[len(line) - (longest - 5 - longest // 2) :]}"
    # Lone surrogates and control characters would break, or steer, the terminal that shows them.
    return "".join(character if character.isprintable() else "?" for character in line)


def quoted(value: Any, longest: int = 60) -> str:
    """A value as Python writes it, in at most ``longest`` characters."""
    # The rest of a picture in a cell need not be written out to be cut off.
    return short(repr(value[: 4 * longest] if isinstance(value, str | bytes) else value), longest)


def reason(error: BaseException) -> str:
    """An exception as one short line: its message, with its class where that alone says what happened."""
    # The file that an OSError repeats may have a name of megabytes, and is named by whoever tried to read it.
    said = short((isinstance(error, OSError) and error.strerror) or str(error) or "no message")
    return said if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {said}"
