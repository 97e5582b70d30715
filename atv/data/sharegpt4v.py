"""The raw layout of ShareGPT4V and LLaVA-NeXT-Data: a JSON list, and a folder of pictures."""

from functools import cached_property
from pathlib import Path
from typing import Any

from atv.data.base import Conversation, IndexedData
from atv.data.columns import task_rows
from atv.data.pictures import undecoded
from atv.data.text_files import json_lines, json_value
from atv.data.turns import turns_of
from atv.data.wording import short


class ShareGPT4V(IndexedData):
    """A JSON list of {id, image, conversations: [{from: human | gpt, value}]} and the folder that ``image`` is in.

    Args:
        annotations: JSON file, or JSONL with a row a line. Rows without ``image`` are text; ``image`` may be a list.
        images: folder; default: that of the annotations.
        task: only the rows whose ``data_source`` it is, such as sharegpt4v of LLaVA-NeXT-Data.
    """

    def __init__(self, annotations: Path | str, images: Path | str | None = None, task: str | None = None) -> None:
        self.annotations = Path(annotations)
        self.images = self.annotations.parent if images is None else Path(images)
        self.task = task

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        if not self.images.is_dir():
            raise ValueError(f"calibration.images: no such folder {str(self.images)!r}")
        rows = _read(self.annotations)
        if self.task is None:
            return rows
        tasks = [row.get("data_source") for row in rows]
        return [rows[number] for number in task_rows(tasks, self.task, "data_source")]

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> Conversation:
        row = self._rows[index]
        id = f"row {index}" if row["id"] in (None, "") else str(row["id"])
        try:
            pictures = undecoded(row.get("image"), self.images)
            return Conversation(id, turns_of(row["conversations"]), pictures)
        except ValueError as error:
            return Conversation(id, (), fault=str(error))


def _read(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        raise ValueError(f"calibration.annotations: no such file {str(file)!r}")
    try:
        rows = json_lines(file) if file.suffix == ".jsonl" else json_value(file)
    except ValueError as error:
        raise ValueError(f"calibration.annotations: {error}") from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"calibration.annotations: {str(file)!r} holds no list of rows")
    for number, row in enumerate(rows):
        if missing := [column for column in ("id", "conversations") if column not in row]:
            there = short(", ".join(row))
            raise ValueError(
                f"calibration.annotations: missing columns {', '.join(missing)} in row {number}; there are {there}"
            )
    return rows
