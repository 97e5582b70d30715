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
        column_options = (self.conversation, self.image, self.id, self.caption, self.prompt)
        columns = Columns.of(rows.column_names, *column_options)
        task_columns = [] if self.task is None else [self.task_column]
        require_columns(rows, task_columns, "calibration")
        return without_decoding(rows, columns.said, columns.image, columns.id, *task_columns), columns


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
        numbered_rows = enumerate(rows.shuffle(seed=seed, buffer_size=self.buffer))
        while (numbered_row := self._next_row(numbered_rows)) is not None:
            row_number, row = numbered_row
            yield columns.conversation_of(row, row_number, folder)

    def _next_row(self, numbered_rows: Iterator[tuple[int, Any]]) -> tuple[int, Any] | None:
        try:
            return next(numbered_rows, None)
        except (pa.ArrowException, DatasetsError, OSError, ValueError, TypeError) as error:
            raise ValueError(f"calibration: {self.path!r} cannot be read any further: {reason(error)}") from error


def folder_of(path: str) -> Path | None:
    """Returns the folder that relative paths to pictures start from: beside local data; None for the hub."""
    location = Path(path)
    return location if location.is_dir() else location.parent if location.is_file() else None


def load_rows(path: str, config: str | None, split: str, streaming: bool = False) -> Any:
    """Loads a split with ``datasets``: from disk if the path exists, else from the hub.

    Raises:
        ValueError: if the split cannot be found or read; the message names path, configuration and split.
    """
    location = Path(path)
    if location.is_dir():
        rows = _rows_of_folder(location, config, split, streaming)
        if rows is not None:
            return rows
    elif location.is_file():
        if config is not None:
            raise ValueError(f"calibration.config: {path!r} is a file, which has no configurations; omit config")
        return load_files([location], split, "calibration", streaming)
    if location.suffix.lower() in SUFFIXES or not is_hub_id(path):
        suffixes = ", ".join(SUFFIXES)
        raise ValueError(
            f"calibration: {path!r} is no data set saved to disk, no file ending in {suffixes}, and no hub id "
            "(owner/name)"
        )
    repository, revision = split_revision(path)
    with hub_errors("calibration", path):
        try:
            return load_dataset(repository, config, split=split, revision=revision, streaming=streaming)
        except (ValueError, DatasetGenerationError) as error:
            selection = f"{path!r} (config {config or 'default'}, split {split})"
            raise ValueError(f"calibration: {selection} cannot be read: {reason(error.__cause__ or error)}") from error


def _config_folder(folder: Path, config: str | None) -> Path:
    """Returns the sub-folder of a configuration, as in the hub's layout."""
    if config is None or (folder / config).is_dir():
        return folder / (config or "")
    names = {child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")}
    names |= configurations(folder, "calibration").keys()
    raise ValueError(
        f"calibration.config: {quoted(str(folder), 120)} has no configuration or sub-folder {config!r}; found "
        f"{short(', '.join(sorted(names))) or 'none'}. Omit config to read the folder itself"
    )


def _rows_of_folder(root: Path, config: str | None, split: str, streaming: bool) -> Any:
    """Returns the rows of a folder saved to disk, or of a folder's files; None if it holds neither."""
    if declared := declared_files(root, config, split, "calibration"):
        return load_files(declared, split, "calibration", streaming)
    folder = _config_folder(root, config)
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
    saved = load_from_disk(str(folder))
    splits = list(saved) if isinstance(saved, DatasetDict) else [_named_split(saved)]
    if isinstance(saved, DatasetDict) and split in saved:
        return saved[split]
    if isinstance(saved, Dataset) and splits[0] in (None, split):
        return saved
    raise ValueError(
        f"{field}: {quoted(str(folder), 120)} holds no split {split!r}; found {short(', '.join(map(str, splits)))}"
    )


def _named_split(rows: Dataset) -> str | None:
    """Returns the split that the rows name; ``datasets`` calls plain files "train" whatever they hold."""
    from_plain_files = rows.info.dataset_name in (None, "parquet", "json", "csv", "arrow", "imagefolder", "generator")
    return None if rows.split is None or (from_plain_files and str(rows.split) == "train") else str(rows.split)


def without_decoding(rows: Any, *columns: str | None) -> Any:
    """Selects these columns, with pictures left as bytes or paths, so that a broken one can be named and skipped."""
    if isinstance(rows, IterableDataset):
        # Streams from the hub decode ahead in threads, even columns that are not used.
        rows = rows.decode(False)
    rows = rows.select_columns([column for column in dict.fromkeys(columns) if column is not None])
    for column, feature in rows.features.items():
        if (undecoded := _undecoded_feature(feature)) != feature:
            rows = rows.cast_column(column, undecoded)
    return rows


def _undecoded_feature(feature: Any) -> Any:
    """Returns a feature whose pictures are not decoded, at any depth."""
    if isinstance(feature, Image):
        return replace(feature, decode=False)
    if isinstance(feature, ListOf | LargeList):
        return replace(feature, feature=_undecoded_feature(feature.feature))
    return (
        {name: _undecoded_feature(inner) for name, inner in feature.items()} if isinstance(feature, dict) else feature
    )
