"""Rows of the ``datasets`` library, read as they come."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pyarrow as pa
from datasets import IterableDataset
from datasets.exceptions import DatasetsError

from atv.data.base import CalibrationData, Conversation
from atv.data.columns import PROMPT, Columns
from atv.data.hf_dataset import folder_of, load_rows, require, without_decoding
from atv.data.wording import reason


class HFStream(CalibrationData):
    """Rows as HFDataset reads them, streamed: what is drawn is fetched. The seed shuffles files and a buffer of rows.

    Args:
        path: hub id (``owner/name`` or ``owner/name@revision``), a parquet, Arrow, CSV or TSV file, a folder of them,
            or one made by ``save_to_disk``.
        config: name of the data set's configuration; in a folder, the sub-folder that holds it.
        split: of a data set that has several.
        task: only the rows with this in ``task_column``.
        task_column: where a row says its task.
        conversation: column of the turns; default: conversations, conversation or messages.
        image: column of a picture, a list of them, or null; default: image, images or file_name.
        id: column of ids; without it, a row's number in the shuffled stream is its id.
        buffer: rows held at once, among which the next is drawn.
        caption: column of captions; default, where no turns are named or there: caption or text.
        prompt: what the user asks about a picture that has a caption.
    """

    def __init__(
        self,
        path: str,
        config: str | None = None,
        split: str = "train",
        task: str | None = None,
        task_column: str = "data_source",
        conversation: str | None = None,
        image: str | None = None,
        id: str = "id",
        caption: str | None = None,
        prompt: str = PROMPT,
        buffer: int = 1000,
    ) -> None:
        self.path, self.config, self.split = str(path), config, split
        self.task, self.task_column, self.buffer = task, task_column, buffer
        self.conversation, self.image, self.id = conversation, image, id
        self.caption, self.prompt = caption, prompt

    def check(self) -> None:
        _ = self._table

    @cached_property
    def _table(self) -> tuple[IterableDataset, Columns]:
        rows = load_rows(self.path, self.config, self.split, streaming=True)
        if rows.features is None:
            rows = rows._resolve_features()
        named = (self.conversation, self.image, self.id, self.caption, self.prompt)
        columns = Columns.of(rows.column_names, *named)
        rows = without_decoding(rows, columns.image)
        if self.task is not None:
            column = require(rows, self.task_column)
            rows = rows.filter(lambda row: row[column] == self.task)
        return rows, columns

    def draw(self, seed: int) -> Iterator[Conversation]:
        (rows, columns), folder = self._table, folder_of(self.path)
        shuffled = enumerate(rows.shuffle(seed=seed, buffer_size=self.buffer))
        while (drawn := self._next(shuffled)) is not None:
            number, row = drawn
            yield columns.conversation_of(row, number, folder)

    def _next(self, rows: Iterator[tuple[int, Any]]) -> tuple[int, Any] | None:
        try:
            return next(rows, None)
        except (pa.ArrowException, DatasetsError, ValueError, TypeError) as error:
            raise ValueError(f"calibration: {self.path!r} cannot be read on: {reason(error)}") from error
