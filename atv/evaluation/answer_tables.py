"""Tables of answers, one row a question: what they hold, how they are written, and how they are checked when read."""

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
    """What scores are made of, a row a question."""

    task: str
    question_id: str | int
    metric: str
    group: str
    category: str | None
    credit: Share


@dataclass(frozen=True)
class Answer(Scored):
    """What every table of answers that are compared has of a question; question, options, answers, seen, picture, ended
    and fault stand there, too, where they were recorded."""

    answer: Any
    prediction: str
    read: str | None


def write_answers(path: Path, answers: pd.DataFrame) -> None:
    """Writes answers, one JSON object a line, atomically."""
    with atomic(path) as temporary:
        answers.to_json(temporary, orient="records", lines=True, force_ascii=False)


def read_answers(path: Path) -> pd.DataFrame:
    """What ``write_answers`` wrote.

    Raises:
        ValueError: when there is no such file, a line of it is no JSON, or it holds something else than answers.
    """
    if not path.is_file():
        raise ValueError(f"no answers at {str(path)!r}")
    return checked_answers(pd.DataFrame(json_lines(path)), path)


def checked_answers(rows: pd.DataFrame, path: Path, kind: type[Scored] = Answer) -> pd.DataFrame:
    """The rows, if they are answers of a kind.

    Raises:
        ValueError: naming the file and what is missing, or the row, column and value that no answer has.
    """
    names = [column.name for column in fields(kind)]
    if missing := [name for name in names if name not in rows]:
        raise ValueError(f"{path}: its answers lack {', '.join(missing)}")
    if rows.empty:
        raise ValueError(f"{path} holds no answer")
    own = rows[names].astype(object)
    typed(list[kind], own.where(own.notna(), None).to_dict("records"), path)  # type: ignore[valid-type]
    return rows


def read_rows(path: Path) -> pd.DataFrame:
    """A table that was written as parquet.

    Raises:
        ValueError: naming the file, where it is not there or no whole parquet file.
    """
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is no whole parquet file: {reason(error)}") from error
