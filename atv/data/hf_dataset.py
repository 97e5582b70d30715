"""Rows of the ``datasets`` library, from the hub or from disk: loaded in full, or streamed."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict, Image, IterableDataset, LargeList, load_dataset, load_from_disk
from datasets import List as ListOf
from datasets.exceptions import DatasetGenerationError, DatasetsError

from atv.data.base import CalibrationData, Conversation, IndexedData
from atv.data.columns import PROMPT, Columns, task_rows
from atv.data.conversations import require_columns
from atv.data.dataset_card import configurations, declared_files
from atv.data.row_files import SUFFIXES, load_files, row_files
from atv.data.wording import quoted, reason, short
from atv.runtime.hub import hub_errors, is_hub_id, split_revision


class _Rows(CalibrationData):
    """Common base of loaded and streamed rows: their arguments, and how they are opened."""

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
    ) -> None:
        self.path, self.config, self.split = str(path), config, split
        self.task, self.task_column = task, task_column
        self.conversation, self.image, self.id = conversation, image, id
        self.caption, self.prompt = caption, prompt

    def _opened(self, streaming: bool) -> tuple[Any, Columns]:
        """Returns the rows, with pictures not decoded, and their columns."""
        rows = load_rows(self.path, self.config, self.split, streaming)
        if rows.features is None:
            rows = rows._resolve_features()
        named = (self.conversation, self.image, self.id, self.caption, self.prompt)
        columns = Columns.of(rows.column_names, *named)
        task = [] if self.task is None else [self.task_column]
        require_columns(rows, task, "calibration")
        return without_decoding(rows, columns.said, columns.image, columns.id, *task), columns


class HFDataset(_Rows, IndexedData):
    """A data set on the hub, files of rows, or a data set saved to disk; LLaVA-NeXT-Data's columns work unchanged.

    Args:
        path: hub id (``owner/name`` or ``owner/name@revision``; only then is the network used), a parquet, Arrow, CSV
            or TSV file, a folder of such files, or a folder written by ``save_to_disk``.
        config: name of the data set's configuration; in a folder, one that its README.md declares, or a sub-folder.
        split: split to read, if the data set has several.
        task: keeps only the rows with this value in ``task_column``, such as sharegpt4v in LLaVA-NeXT-Data.
        task_column: column with a row's task.
        conversation: column of the turns. Default: conversations, conversation or messages.
        image: column whose cells hold a picture, a list of pictures, or null. Default: image, images or file_name.
        id: column of ids; without it, a row's number is its id.
        caption: column of captions. Default, if no turns are named or found: caption or text.
        prompt: what the user asks about a picture that has a caption.
    """

    @cached_property
    def _table(self) -> tuple[Dataset, Columns]:
        rows, columns = self._opened(streaming=False)
        if self.task is not None:
            tasks = rows.select_columns([self.task_column])[:][self.task_column]
            rows = rows.select(task_rows(tasks, self.task, self.task_column))
        return rows, columns

    def __len__(self) -> int:
        return len(self._table[0])

    def read(self, index: int) -> Conversation:
        rows, columns = self._table
        return columns.conversation_of(rows[index], index, folder_of(self.path))


class HFStream(_Rows):
    """The rows of HFDataset, streamed: only drawn rows are fetched. The seed shuffles files and a buffer of rows.

    Args:
        path: hub id (``owner/name`` or ``owner/name@revision``), a parquet, Arrow, CSV or TSV file, a folder of such
            files, or a folder written by ``save_to_disk``.
        config: name of the data set's configuration; in a folder, one that its README.md declares, or a sub-folder.
        split: split to read, if the data set has several.
        task: keeps only the rows with this value in ``task_column``.
        task_column: column with a row's task.
        conversation: column of the turns. Default: conversations, conversation or messages.
        image: column whose cells hold a picture, a list of pictures, or null. Default: image, images or file_name.
        id: column of ids; without it, a row's number in the shuffled stream is its id.
        buffer: number of rows held at once, from which the next one is drawn.
        caption: column of captions. Default, if no turns are named or found: caption or text.
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
        super().__init__(path, config, split, task, task_column, conversation, image, id, caption, prompt)
        self.buffer = buffer

    def check(self) -> None:
        _ = self._table

    @cached_property
    def _table(self) -> tuple[IterableDataset, Columns]:
        rows, columns = self._opened(streaming=True)
        if self.task is not None:
            rows = rows.filter(lambda row: row[self.task_column] == self.task)
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
        except (pa.ArrowException, DatasetsError, OSError, ValueError, TypeError) as error:
            raise ValueError(f"calibration: {self.path!r} cannot be read any further: {reason(error)}") from error


def folder_of(path: str) -> Path | None:
    """Returns the folder that relative paths to pictures start from: beside local data; None for the hub."""
    here = Path(path)
    return here if here.is_dir() else here.parent if here.is_file() else None


def load_rows(path: str, config: str | None, split: str, streaming: bool = False) -> Any:
    """Loads a split with ``datasets``: from disk if the path exists, else from the hub.

    Raises:
        ValueError: if the split cannot be found or read; the message names path, configuration and split.
    """
    here = Path(path)
    if here.is_dir():
        rows = _of_folder(here, config, split, streaming)
        if rows is not None:
            return rows
    elif here.is_file():
        if config is not None:
            raise ValueError(f"calibration.config: {path!r} is a file, which has no configurations; omit config")
        return load_files([here], split, "calibration", streaming)
    if here.suffix.lower() in SUFFIXES or not is_hub_id(path):
        kinds = ", ".join(SUFFIXES)
        raise ValueError(
            f"calibration: {path!r} is no data set saved to disk, no file ending in {kinds}, and no hub id (owner/name)"
        )
    repository, revision = split_revision(path)
    with hub_errors("calibration", path):
        try:
            return load_dataset(repository, config, split=split, revision=revision, streaming=streaming)
        except (ValueError, DatasetGenerationError) as error:
            which = f"{path!r} (config {config or 'default'}, split {split})"
            raise ValueError(f"calibration: {which} cannot be read: {reason(error.__cause__ or error)}") from error


def _configured(folder: Path, config: str | None) -> Path:
    """Returns the sub-folder of a configuration, as in the hub's layout."""
    if config is None or (folder / config).is_dir():
        return folder / (config or "")
    there = {each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")}
    there |= configurations(folder, "calibration").keys()
    raise ValueError(
        f"calibration.config: {quoted(str(folder), 120)} has no configuration or sub-folder {config!r}; found "
        f"{short(', '.join(sorted(there))) or 'none'}. Omit config to read the folder itself"
    )


def _of_folder(whole: Path, config: str | None, split: str, streaming: bool) -> Any:
    """Returns the rows of a folder saved to disk, or of a folder's files; None if it holds neither."""
    if declared := declared_files(whole, config, split, "calibration"):
        return load_files(declared, split, "calibration", streaming)
    folder = _configured(whole, config)
    try:
        saved = saved_split(folder, split, "calibration")
    except OSError as error:
        raise ValueError(f"calibration: {quoted(str(folder), 120)} cannot be read: {reason(error)}") from error
    if saved is not None:
        return saved.to_iterable_dataset() if streaming else saved
    files = row_files(folder, split, "calibration")
    return load_files(files, split, "calibration", streaming) if files else None


def saved_split(folder: Path, split: str, field: str) -> Dataset | None:
    """Returns the split of a data set that ``save_to_disk`` wrote; None if the folder holds none.

    Raises:
        ValueError: if the data set lacks this split, or is a different split itself.
    """
    if not any((folder / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return None
    found = load_from_disk(str(folder))
    there = list(found) if isinstance(found, DatasetDict) else [_named_split(found)]
    if isinstance(found, DatasetDict) and split in found:
        return found[split]
    if isinstance(found, Dataset) and there[0] in (None, split):
        return found
    raise ValueError(
        f"{field}: {quoted(str(folder), 120)} holds no split {split!r}; found {short(', '.join(map(str, there)))}"
    )


def _named_split(rows: Dataset) -> str | None:
    """Returns the split that the rows name; ``datasets`` calls plain files "train" whatever they hold."""
    plain = rows.info.dataset_name in (None, "parquet", "json", "csv", "arrow", "imagefolder", "generator")
    return None if rows.split is None or (plain and str(rows.split) == "train") else str(rows.split)


def without_decoding(rows: Any, *columns: str | None) -> Any:
    """Selects these columns, with pictures left as bytes or paths, so that a broken one can be named and skipped."""
    if isinstance(rows, IterableDataset):
        # Streams from the hub decode ahead in threads, even columns that are not used.
        rows = rows.decode(False)
    rows = rows.select_columns([column for column in dict.fromkeys(columns) if column is not None])
    for column, kind in rows.features.items():
        if (stored := _as_stored(kind)) != kind:
            rows = rows.cast_column(column, stored)
    return rows


def _as_stored(kind: Any) -> Any:
    """Returns a feature whose pictures are not decoded, at any depth."""
    if isinstance(kind, Image):
        return replace(kind, decode=False)
    if isinstance(kind, ListOf | LargeList):
        return replace(kind, feature=_as_stored(kind.feature))
    return {name: _as_stored(own) for name, own in kind.items()} if isinstance(kind, dict) else kind
