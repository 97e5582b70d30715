"""Tables of answers, one row per question: their columns, and how they are written, read and checked."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from atv.data.text_files import json_lines
from atv.data.wording import reason
from atv.records.files import atomic
from atv.records.typed import Share, typed


@dataclass(frozen=True)
class Scored:
    """The columns that scores are computed from, one row per question."""

    task: str
    question_id: str | int
    metric: str
    group: str
    category: str | None
    credit: Share


@dataclass(frozen=True)
class Answer(Scored):
    """The columns of every table of answers that can be compared.

    question, options, answers, seen, picture, ended and fault are present, too, if they were recorded.
    """

    answer: Any
    prediction: str
    read: str | None


def write_answers(path: Path, answers: pd.DataFrame) -> None:
    """Writes answers atomically, one JSON object per line."""
    with atomic(path) as temporary:
        answers.to_json(temporary, orient="records", lines=True, force_ascii=False)


def read_answers(path: Path) -> pd.DataFrame:
    """Reads what ``write_answers`` wrote.

    Raises:
        ValueError: if the file does not exist, a line of it is not JSON, or it holds something other than answers.
    """
    if not path.is_file():
        raise ValueError(f"no answers at {str(path)!r}")
    return checked_answers(pd.DataFrame(json_lines(path)), path)


def checked_answers(rows: pd.DataFrame, path: Path, answer_class: type[Scored] = Answer) -> pd.DataFrame:
    """Returns the rows if they are answers of the given kind.

    Raises:
        ValueError: naming the file and the missing columns, or the row, column and value that no answer can have.
    """
    required_columns = [column.name for column in fields(answer_class)]
    if missing_columns := [name for name in required_columns if name not in rows]:
        raise ValueError(f"{path}: its answers lack {', '.join(missing_columns)}")
    if rows.empty:
        raise ValueError(f"{path} holds no answers")
    values = rows[required_columns].astype(object)
    typed(list[answer_class], values.where(values.notna(), None).to_dict("records"), path)  # type: ignore[valid-type]
    return rows


def read_rows(path: Path) -> pd.DataFrame:
    """Reads a table that was written as parquet.

    Raises:
        ValueError: naming the file, if it does not exist or is not a complete parquet file.
    """
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is not a complete parquet file: {reason(error)}") from error
