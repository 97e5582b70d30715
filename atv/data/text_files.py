"""Text files as people have them: with byte order marks, blank lines, and separators that are no line ends."""

import codecs
import json
from pathlib import Path
from typing import Any

from atv.data.wording import quoted, reason

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(file: Path) -> str:
    """UTF-8, or UTF-16 with its byte order mark; the mark is no part of the text.

    Raises:
        ValueError: naming the file, for one that cannot be read, or is in another encoding.
    """
    try:
        content = file.read_bytes()
        encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{str(file)!r} is not UTF-8 (byte 0x{content[error.start]:02x} in line {line}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise ValueError(f"{str(file)!r} cannot be read: {reason(error)}") from error


def json_lines(file: Path) -> list[Any]:
    """One JSON value a line, blank lines left out.

    Raises:
        ValueError: naming the file and the line that is no JSON.
    """
    # Not splitlines, which also breaks at the separators that strings may hold (U+2028, U+0085 and others).
    lines = enumerate(read_text(file).replace("\r\n", "\n").split("\n"), 1)
    return [_value(file, number, line) for number, line in lines if line.strip()]


def json_value(file: Path) -> Any:
    """The JSON value that a file holds.

    Raises:
        ValueError: naming the file and the place.
    """
    text = read_text(file)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(file)!r} is no JSON: {reason(error)}") from error


def json_rows(file: Path) -> Any:
    """The values of a file with one a line, by its suffix or by what is in it; else the one value that it holds.

    Raises:
        ValueError: as ``json_lines`` and ``json_value`` do.
    """
    if file.suffix == ".jsonl":
        return json_lines(file)
    try:
        return json_value(file)
    except ValueError as error:
        if isinstance(error.__cause__, json.JSONDecodeError) and error.__cause__.msg == "Extra data":
            return json_lines(file)
        raise


def _value(file: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(file)!r} is no JSON in line {number} ({quoted(line)}): {reason(error)}") from error
