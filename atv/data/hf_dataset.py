"""Rows of the ``datasets`` library, from the hub or from disk."""

from functools import cached_property
from pathlib import Path
from typing import Any

from datasets import Dataset, Image, load_dataset, load_from_disk
from datasets import List as ListOf

from atv.data.base import Conversation, IndexedData
from atv.data.columns import Columns, task_rows
from atv.runtime.hub import hub_errors, is_hub_id, split_revision


class HFDataset(IndexedData):
    """A data set of the hub, parquet files, or one saved to disk; LLaVA-NeXT-Data's columns work as they are.

    Args:
        path: hub id (``owner/name`` or ``owner/name@revision``; only then is the network used), parquet file, folder
            of parquet files, or folder made by ``save_to_disk``.
        config: name of the data set's configuration.
        split: of a data set that has several.
        task: only the rows with this in ``task_column``, such as sharegpt4v of LLaVA-NeXT-Data.
        task_column: where a row says its task.
        conversation: column of the turns; default: conversations, conversation or messages.
        image: column of a picture, a list of them, or null; default: image or images.
        id: column of ids; without it, a row's number is its id.
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
    ) -> None:
        self.path, self.config, self.split = str(path), config, split
        self.task, self.task_column = task, task_column
        self.conversation, self.image, self.id = conversation, image, id

    @cached_property
    def _table(self) -> tuple[Dataset, Columns]:
        rows = load_rows(self.path, self.config, self.split)
        columns = Columns.of(rows.column_names, self.conversation, self.image, self.id)
        rows = without_decoding(rows, columns.image)
        if self.task is not None:
            tasks = rows.select_columns([require(rows, self.task_column)])[:][self.task_column]
            rows = rows.select(task_rows(tasks, self.task, self.task_column))
        return rows, columns

    def __len__(self) -> int:
        return len(self._table[0])

    def read(self, index: int) -> Conversation:
        rows, columns = self._table
        return columns.conversation_of(rows[index], index)


def load_rows(path: str, config: str | None, split: str, streaming: bool = False) -> Any:
    """A split as ``datasets`` gives it: from disk where it is there, else from the hub."""
    here = Path(path)
    if (here / "state.json").is_file() and not streaming:
        return load_from_disk(path)
    if (here / "dataset_dict.json").is_file():
        raise ValueError(f"calibration: {path!r} holds several splits; name the folder of one")
    files = [str(here)] if here.is_file() else sorted(str(file) for file in here.rglob("*.parquet"))
    if files:
        return load_dataset("parquet", data_files={split: files}, split=split, streaming=streaming)
    if not is_hub_id(path):
        raise ValueError(f"calibration: {path!r} is no data set saved to disk, no parquet and no hub id (owner/name)")
    repository, revision = split_revision(path)
    with hub_errors("calibration", path):
        return load_dataset(repository, config, split=split, revision=revision, streaming=streaming)


def without_decoding(rows: Any, image: str) -> Any:
    """The rows with pictures as bytes or paths, so that a broken one can be named and passed over."""
    kind = rows.features[image]
    if isinstance(kind, Image):
        return rows.cast_column(image, Image(decode=False))
    if isinstance(getattr(kind, "feature", None), Image):
        return rows.cast_column(image, ListOf(Image(decode=False)))
    return rows


def require(rows: Dataset, column: str) -> str:
    """The column's name, if it is there."""
    if column not in rows.column_names:
        raise ValueError(f"calibration: missing columns {column}; there are {', '.join(rows.column_names)}")
    return column
