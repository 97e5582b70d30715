"""Text files as people have them: with byte order marks, blank lines, and separators that are no line ends."""

import ast
import codecs
import csv
import io
import json
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from atv.data.wording import quoted, reason

# What stands between the cells of a line, by the suffix of the file.
SEPARATORS = {".csv": ",", ".tsv": "\t"}

# Base64 pictures fill a cell beyond csv's own 131,072 characters; more than this its C code cannot count everywhere.
_LONGEST_CELL = 2**31 - 1
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
    return [value for _, value in numbered_lines(file)]


def numbered_lines(file: Path) -> list[tuple[int, Any]]:
    """``json_lines``, each with the number of its line, from 1 on."""
    # Not splitlines, which also breaks at the separators that strings may hold (U+2028, U+0085 and others).
    lines = enumerate(read_text(file).replace("\r\n", "\n").split("\n"), 1)
    return [(number, _value(file, number, line)) for number, line in lines if line.strip()]


def json_value(file: Path) -> Any:
    """The JSON value that a file holds.

    Raises:
        ValueError: naming the file and the place.
    """
    text = read_text(file)
    try:
        return json.loads(text, object_pairs_hook=_once)
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


def table_of_texts(file: Path) -> dict[str, list[str | None]]:
    """The columns of a CSV or TSV file, every cell a text as it stands; None where a line ends before it.

    Empty cells, "NA" and "null" are texts like others.

    Raises:
        ValueError: naming the file that cannot be read, and for lines with more cells than the first has names, or
            whose quotes do not fit.
    """
    text = read_text(file)
    _require_quoting(file, text)
    options: dict[str, Any] = {"sep": SEPARATORS[file.suffix.lower()], "dtype": str, "keep_default_na": False}
    try:
        with warnings.catch_warnings():
            # Without index_col, pandas takes the first cells of lines that are all too long for names of the lines;
            # with it, it warns that it drops the last ones.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(io.StringIO(text), index_col=False, **options).astype(object)
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        long = " (lines have more cells than the first has names)" if isinstance(error, Warning) else ""
        raise ValueError(f"{file.name} is no {file.suffix[1:].upper()}: {reason(error)}{long}") from error
    return {str(name): column.where(column.notna(), None).tolist() for name, column in table.items()}


def parsed(text: str) -> Any:
    """What a text spells in JSON or as Python writes it; the text itself where it spells nothing."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _require_quoting(file: Path, text: str) -> None:
    """Whether every quote that begins a cell ends it: pandas reads on to the next quote, over any number of lines.

    Raises:
        ValueError: naming the file and the line in which the row begins.
    """
    csv.field_size_limit(_LONGEST_CELL)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=SEPARATORS[file.suffix.lower()], strict=True)
    begins = 1
    try:
        for _ in rows:
            begins = rows.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{file.name} is no {file.suffix[1:].upper()} in line {begins}: a cell begins with a quote that does not "
            'end it; expected quotes around the whole cell and those within doubled, as in "a ""red"" star"'
        ) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names differ: of two values under one name nobody knows which is meant."""
    if len(made := dict(pairs)) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{quoted(max(names, key=names.count))} stands twice in one object")
    return made


def _value(file: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(file)!r} is no JSON in line {number} ({quoted(line)}): {reason(error)}") from error
