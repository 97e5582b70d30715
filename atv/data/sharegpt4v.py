"""The raw layout of ShareGPT4V and LLaVA-NeXT-Data: a JSON list and a folder of pictures."""

from functools import cached_property
from pathlib import Path
from typing import Any

from atv.data.base import Conversation, IndexedData
from atv.data.columns import CONVERSATION, IMAGE, Columns, task_rows
from atv.data.pictures import ENDINGS
from atv.data.text_files import json_rows
from atv.data.wording import quoted, short


class ShareGPT4V(IndexedData):
    """A JSON list of {id, image, conversations: [{from: human | gpt, value}]} and the folder that ``image`` is in.

    ``messages`` and ``images`` can replace ``conversations`` and ``image``, and {role, content} {from, value}.

    Args:
        annotations: JSON file, or JSONL with one row per line. Rows without ``image`` are text; ``image`` may be a
            list.
        images: folder of the pictures. Default: the folder of the annotations.
        task: keeps only the rows with this ``data_source``, such as sharegpt4v in LLaVA-NeXT-Data.
    """

    def __init__(self, annotations: Path | str, images: Path | str | None = None, task: str | None = None) -> None:
        self.annotations = Path(annotations)
        self.images = self.annotations.parent if images is None else Path(images)
        self.task = task

    @cached_property
    def _rows(self) -> list[Any]:
        rows = _read(self.annotations)
        if not self.images.is_dir():
            raise ValueError(f"calibration.images: no such folder {str(self.images)!r}")
        if self.task is None:
            return rows
        tasks = [row.get("data_source") if isinstance(row, dict) else None for row in rows]
        return [rows[index] for index in task_rows(tasks, self.task, "data_source")]

    @cached_property
    def _columns(self) -> Columns:
        keys = _row_keys(self._rows)
        # If no row has a picture, the rows are text.
        return Columns.of([*keys, *(() if keys.keys() & set(IMAGE) else IMAGE[:1])], None, None, "id")

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> Conversation:
        row = self._rows[index]
        if not isinstance(row, dict):
            return Conversation(f"row {index}", (), fault=f"it is {quoted(row)}; expected an object")
        return self._columns.conversation_of(row, index, self.images)


def _read(file: Path) -> list[Any]:
    """Reads the rows of a JSON list, or of a file with one JSON value per line, whatever its suffix."""
    if not file.is_file():
        raise ValueError(f"calibration.annotations: no such file {str(file)!r}")
    try:
        rows = json_rows(file)
    except ValueError as error:
        raise ValueError(f"calibration.annotations: {error}") from error
    if not isinstance(rows, list) or not any(isinstance(row, dict) for row in rows):
        contrast = f" but an object with the keys {short(', '.join(rows))}" if isinstance(rows, dict) else ""
        raise ValueError(f"calibration.annotations: {str(file)!r} does not hold a list of rows{contrast}")
    if not (keys := _row_keys(rows)).keys() & set(CONVERSATION):
        raise ValueError(f"calibration.annotations: missing columns {CONVERSATION[0]}; found {short(', '.join(keys))}")
    if not keys.keys() & set(IMAGE) and (column := _picture_column(rows)):
        raise ValueError(
            f"calibration.annotations: missing columns {IMAGE[0]}, and {column!r} seems to name pictures; rename "
            f"it to {IMAGE[0]}"
        )
    return rows


def _picture_column(rows: list[Any]) -> str | None:
    """Returns a column of picture names, whatever it is called; without one, the rows are text."""
    cells = ((name, cell) for row in rows if isinstance(row, dict) for name, cell in row.items() if name != "id")
    return next((name for name, cell in cells if isinstance(cell, str) and cell.lower().endswith(ENDINGS)), None)


def _row_keys(rows: list[Any]) -> dict[str, None]:
    """Returns the keys of all rows, in order of first appearance."""
    return dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row)
