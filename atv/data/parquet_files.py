"""Parquet files of a folder: which of them are a split's, and what is wrong where they cannot be read together."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import load_dataset
from datasets.exceptions import DatasetsError

from atv.data.wording import quoted, reason, short

# Words that name a split, with what makers of benchmarks add to them (val2014, testdev).
_SPLIT = re.compile(
    r"(train|training|trainval|val|minival|valid|validation|dev|test|testing|eval|evaluation)(dev|std|\d{4})?"
)
_WORDS = re.compile(r"[-_. ]+")


def parquet_files(folder: Path, split: str, field: str) -> list[Path]:
    """The split's parquet files in a folder and its sub-folders, as ``split_files`` chooses them."""
    return split_files(sorted(folder.rglob("*.parquet")), folder, split, field)


def split_files(files: Sequence[Path], folder: Path, split: str, field: str) -> list[Path]:
    """Those files in a folder that are the split's; all of them where no name says a split.

    A name says one as on the hub (train-00000-of-00002), in any of its words (my_test.parquet), or by a sub-folder.

    Raises:
        ValueError: where names say other splits and none this one; the message lists them.
    """
    said = {file: _splits(file.relative_to(folder), split) for file in files}
    own = [file for file in files if split in said[file]]
    others = sorted({name for names in said.values() for name in names} - {split})
    if own or not others:
        return own or list(files)
    kind = files[0].suffix
    raise ValueError(
        f"{field}: {quoted(str(folder), 120)} holds no split {split!r} as {kind[1:]} ({split}-*{kind}); there are "
        f"{short(', '.join(others))}"
    )


def _splits(file: Path, wanted: str) -> set[str]:
    """What splits the path of a file names; the nearest name to the file counts."""
    for part in (file.with_suffix("").name, *reversed(file.parent.parts)):
        plain = re.sub(r"([-_.]\d+(-of-\d+)?)+$", "", part)
        if wanted in (plain, part) or re.match(rf"{re.escape(wanted)}[-_.]", part):
            return {wanted}
        named = {word for word in _WORDS.split(part.lower()) if _SPLIT.fullmatch(word)}
        if named:
            return named
    return set()


def load_parquet(files: Sequence[Path], split: str, field: str, streaming: bool = False) -> Any:
    """The rows of the files, as ``datasets`` gives them.

    Raises:
        ValueError: naming the file that is no parquet, or has other columns than the first.
    """
    _require_one_layout(files, field)
    names = [str(file) for file in files]
    try:
        return load_dataset("parquet", data_files={split: names}, split=split, streaming=streaming)
    except (pa.ArrowException, DatasetsError, ValueError, TypeError, OSError, RuntimeError) as error:
        first = error.__cause__ or error
        where = quoted(names[0], 120) + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        raise ValueError(f"{field}: {where} cannot be read: {reason(first)}") from error


def _require_one_layout(files: Sequence[Path], field: str) -> None:
    first: pa.Schema | None = None
    for file in files:
        try:
            schema = pq.read_schema(file)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{field}: {quoted(str(file), 120)} is no parquet file: {reason(error)}") from error
        first = schema if first is None else first
        if odd := sorted(set(first.names) ^ set(schema.names)):
            raise ValueError(
                f"{field}: {quoted(str(file), 120)} and {files[0].name!r} differ in the columns "
                f"{short(', '.join(odd))}; give them the same columns, or name one of them"
            )
