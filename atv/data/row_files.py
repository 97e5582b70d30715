"""Files with a data set's rows: which files of a folder belong to a split, and why some cannot be read."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetsError

from atv.data.text_files import SEPARATORS, table_of_texts
from atv.data.wording import quoted, reason, short

# Kinds of files; only the first kind that a folder has is read.
SUFFIXES = (".parquet", ".arrow", *SEPARATORS)

# Words that name a split, with the suffixes that benchmarks add to them (val2014, testdev).
_SPLIT = re.compile(
    r"(train|training|trainval|val|minival|valid|validation|dev|test|testing|eval|evaluation)(dev|std|\d{4})?"
)
_WORDS = re.compile(r"[-_. ]+")


def row_files(folder: Path, split: str, field: str) -> list[Path]:
    """Returns the split's files in a folder and its sub-folders, as ``split_files`` chooses them; empty without files.

    They are of the first kind in ``SUFFIXES`` that the folder has.
    """
    files = files_of(folder, *SUFFIXES)
    first_suffix = next((suffix for suffix in SUFFIXES if any(file.suffix.lower() == suffix for file in files)), None)
    return split_files([file for file in files if file.suffix.lower() == first_suffix], folder, split, field)


def files_of(folder: Path, *suffixes: str) -> list[Path]:
    """Returns the files with these suffixes in a folder and its sub-folders, sorted.

    Hidden files (._a.jpg) and files in hidden folders (.ipynb_checkpoints) are skipped.
    """
    files = (file for file in folder.rglob("*") if file.suffix.lower() in suffixes)
    return sorted(file for file in files if not any(name[0] == "." for name in file.relative_to(folder).parts))


def split_files(files: Sequence[Path], folder: Path, split: str, field: str) -> list[Path]:
    """Returns the files in a folder that belong to the split; all of them if no name mentions any split.

    A name mentions a split as on the hub (train-00000-of-00002), in one of its words (my_test.parquet), or by a
    sub-folder.

    Raises:
        ValueError: if names mention only different splits; the message lists them.
    """
    splits_of = {file: _mentioned_splits(file.relative_to(folder), split) for file in files}
    matching_files = [file for file in files if split in splits_of[file]]
    other_splits = sorted({name for names in splits_of.values() for name in names} - {split})
    if matching_files or not other_splits:
        return matching_files or list(files)
    suffix = files[0].suffix
    raise ValueError(
        f"{field}: {quoted(str(folder), 120)} holds no split {split!r} as {suffix[1:]} ({split}-*{suffix}); found "
        f"{short(', '.join(other_splits))}"
    )


def _mentioned_splits(file: Path, split: str) -> set[str]:
    """Returns the splits that a file's path mentions; the name nearest to the file decides."""
    for component in (file.with_suffix("").name, *reversed(file.parent.parts)):
        unnumbered = re.sub(r"([-_.]\d+(-of-\d+)?)+$", "", component)
        if split in (unnumbered, component) or re.match(rf"{re.escape(split)}[-_.]", component):
            return {split}
        splits = {word for word in _WORDS.split(component.lower()) if _SPLIT.fullmatch(word)}
        if splits:
            return splits
    return set()


def load_files(files: Sequence[Path], split: str, field: str, streaming: bool = False) -> Any:
    """Loads the rows of files of one kind with ``datasets``; cells of CSV are text.

    Raises:
        ValueError: if a file cannot be read, is of a different kind, or has different columns than the first; the
            message names it.
    """
    suffix = files[0].suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{field}: {quoted(str(files[0]), 120)} is not a file of rows; expected one ending in {', '.join(SUFFIXES)}"
        )
    if other_names := [file.name for file in files if file.suffix.lower() != suffix]:
        raise ValueError(f"{field}: {quoted(str(files[0]), 120)} and {quoted(other_names[0])} are of different kinds")
    if suffix in SEPARATORS:
        text_rows = _text_rows(files, field)
        return text_rows.to_iterable_dataset() if streaming else text_rows
    _require_one_layout([(file, _column_names(file, field)) for file in files], field)
    # ``datasets`` fails on a file without rows.
    nonempty_files = [file for file in files if suffix != ".parquet" or pq.read_metadata(file).num_rows]
    if not nonempty_files:
        raise ValueError(f"{field}: {quoted(str(files[0]), 120)} holds no rows")
    paths = [str(file) for file in nonempty_files]
    try:
        return load_dataset(suffix[1:], data_files={split: paths}, split=split, streaming=streaming)
    except (pa.ArrowException, DatasetsError, ValueError, TypeError, OSError, RuntimeError) as error:
        cause = error.__cause__ or error
        where = quoted(paths[0], 120) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
        raise ValueError(f"{field}: {where} cannot be read: {reason(cause)}") from error


def _text_rows(files: Sequence[Path], field: str) -> Dataset:
    try:
        tables = [table_of_texts(file) for file in files]
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error
    _require_one_layout([(file, list(table)) for file, table in zip(files, tables, strict=True)], field)
    return Dataset.from_dict({name: [cell for table in tables for cell in table[name]] for name in tables[0]})


def _column_names(file: Path, field: str) -> list[str]:
    """Returns the names of a file's columns."""
    try:
        if file.suffix.lower() == ".parquet":
            return list(pq.read_schema(file).names)
        with pa.memory_map(str(file)) as mapped:
            return list(_arrow_schema(mapped).names)
    except (pa.ArrowException, OSError) as error:
        suffix = file.suffix[1:].lower()
        raise ValueError(f"{field}: {quoted(str(file), 120)} is not a valid {suffix} file: {reason(error)}") from error


def _arrow_schema(mapped: Any) -> pa.Schema:
    try:
        return pa.ipc.open_stream(mapped).schema
    except pa.ArrowInvalid:
        mapped.seek(0)
        return pa.ipc.open_file(mapped).schema


def _require_one_layout(columns: Sequence[tuple[Path, list[str]]], field: str) -> None:
    first_file, first_names = columns[0]
    for file, names in columns[1:]:
        if differing_names := sorted(set(first_names) ^ set(names)):
            raise ValueError(
                f"{field}: {quoted(str(file), 120)} and {first_file.name!r} differ in the columns "
                f"{short(', '.join(differing_names))}; give them the same columns, or name only one of the files"
            )
