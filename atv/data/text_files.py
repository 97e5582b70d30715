"""Reads text files as found in practice: with byte order marks, blank lines, and separators that end no line."""

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

# Separators between the cells of a line, by file suffix.
SEPARATORS = {".csv": ",", ".tsv": "\t"}

# Base64 pictures exceed csv's default limit of 131,072 characters; its C code cannot count further on every platform.
_LONGEST_CELL = 2**31 - 1
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(file: Path) -> str:
    """Reads UTF-8, or UTF-16 with its byte order mark; the mark is not part of the text.

    Raises:
        ValueError: if the file cannot be read or has a different encoding; the message names it.
    """
    try:
        content = file.read_bytes()
        encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{str(file)!r} is not UTF-8 (byte 0x{content[error.start]:02x} in line {line}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise ValueError(f"{str(file)!r} cannot be read: {reason(error)}") from error


def json_lines(file: Path) -> list[Any]:
    """Reads one JSON value per line, skipping blank lines.

    Raises:
        ValueError: if a line is not valid JSON; the message names the file and the line.
    """
    return [value for _, value in numbered_lines(file)]


def numbered_lines(file: Path) -> list[tuple[int, Any]]:
    """Reads like ``json_lines`` and puts each value's line number before it, counted from 1."""
    # Not splitlines, which also splits at separators that strings may contain (U+2028, U+0085 and others).
    lines = enumerate(read_text(file).replace("\r\n", "\n").split("\n"), 1)
    return [(line_number, _line_value(file, line_number, line)) for line_number, line in lines if line.strip()]


def json_value(file: Path) -> Any:
    """Reads the single JSON value of a file.

    Raises:
        ValueError: if it is not valid JSON; the message names the file and the position.
    """
    text = read_text(file)
    try:
        return json.loads(text, object_pairs_hook=_object_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(file)!r} is not valid JSON: {reason(error)}") from error


def json_rows(file: Path) -> Any:
    """Reads the values of a file with one per line, judged by its suffix or content; else its single value.

    Raises:
        ValueError: as in ``json_lines`` and ``json_value``.
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
    """Reads the columns of a CSV or TSV file with every cell as literal text; None where a line ends before the cell.

    Empty cells, "NA" and "null" are ordinary text.

    Raises:
        ValueError: if the file cannot be read, a line has more cells than the first line has names, or quotes do not
            match; the message names the file.
    """
    text = read_text(file)
    _require_quoting(file, text)
    options: dict[str, Any] = {"sep": SEPARATORS[file.suffix.lower()], "dtype": str, "keep_default_na": False}
    try:
        with warnings.catch_warnings():
            # Without index_col, if all lines are too long, pandas takes their first cells as row labels; with it,
            # pandas warns that it drops the last cells.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(io.StringIO(text), index_col=False, **options).astype(object)
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError) as error:
        explanation = " (lines have more cells than the first line has names)" if isinstance(error, Warning) else ""
        raise ValueError(f"{file.name} is not valid {file.suffix[1:].upper()}: {reason(error)}{explanation}") from error
    return {str(name): column.where(column.notna(), None).tolist() for name, column in table.items()}


def parsed(text: str) -> Any:
    """Returns the value that a text encodes as JSON or Python; the text itself if it encodes none."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _require_quoting(file: Path, text: str) -> None:
    """Checks that every quote that opens a cell closes it; pandas reads on to the next quote, over any number of lines.

    Raises:
        ValueError: if one does not; the message names the file and the line in which the row begins.
    """
    csv.field_size_limit(_LONGEST_CELL)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=SEPARATORS[file.suffix.lower()], strict=True)
    first_line = 1
    try:
        for _ in rows:
            first_line = rows.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{file.name} is not valid {file.suffix[1:].upper()} in line {first_line}: a cell starts with a quote that "
            'does not end it; expected quotes around the whole cell, and doubled quotes within, as in "a ""red"" star"'
        ) from error


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Builds an object; raises ValueError for a repeated name, since it is unclear which of its values is meant."""
    if len(values := dict(pairs)) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{quoted(max(names, key=names.count))} occurs twice in one object")
    return values


def _line_value(file: Path, line_number: int, line: str) -> Any:
    try:
        return json.loads(line, object_pairs_hook=_object_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{str(file)!r} is not valid JSON in line {line_number} ({quoted(line)}): {reason(error)}"
        ) from error
