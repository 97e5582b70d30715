"""Checks the pictures in a benchmark's rows and computes the digests that identify questions, decoding no picture."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, Image

from atv.data.hf_dataset import without_decoding
from atv.data.pictures import header, undecoded

# If the pictures are a separate data set, a benchmark stores the digest of each row's picture in this column.
PICTURE_DIGEST = "picture_digest"


def question_digests(
    rows: Dataset,
    row_indices: Sequence[int],
    texts: Sequence[str],
    columns: Sequence[str] = (),
    root: Path | None = None,
) -> list[dict[str, str]]:
    """Returns two digests for each question, without decoding its pictures.

    ``seen`` covers the text and the bytes of every picture in the row; ``picture`` covers the pictures alone, and is ""
    if there is none.

    Args:
        rows: the benchmark's rows.
        row_indices: index of each question's row.
        texts: user turn of each question.
        columns: columns that hold pictures in any form, in addition to those whose type is a picture.
        root: folder that relative paths start from.
    """
    picture_columns = [name for name, feature in rows.features.items() if isinstance(feature, Image) or name in columns]
    picture_rows = (
        without_decoding(rows.with_format(None), *picture_columns).select(row_indices)
        if picture_columns
        else [{} for _ in row_indices]
    )
    return [
        {"seen": _digest(text, row, root), "picture": _digest("", row, root) if any(row.values()) else ""}
        for text, row in zip(texts, picture_rows, strict=True)
    ]


def picture_digest(cell: Any, root: Path | None = None) -> bytes:
    """Returns the digest of a cell's picture: bytes, a path, a struct of both, text, or a list of these, in order.

    Args:
        root: folder that relative paths start from.
    """
    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, list | tuple):
        cell = b"".join(picture_digest(entry, root) for entry in cell)
    if isinstance(cell, str) and os.path.isfile(file := os.path.join(root or "", cell)):
        cell = Path(file).read_bytes()
    content = cell if isinstance(cell, bytes) else repr(cell).encode(errors="surrogatepass")
    return hashlib.blake2b(content, digest_size=8).digest()


def _digest(text: str, row: Mapping[str, Any], root: Path | None) -> str:
    state = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8)
    for name in sorted(row):
        state.update(name.encode() + picture_digest(row[name], root))
    return state.hexdigest()


def faulty_pictures(
    rows: Dataset, columns: Sequence[str], indices: Iterable[int], root: Path | None, required: bool = True
) -> Iterator[tuple[int, str]]:
    """Yields the rows whose pictures cannot be opened, or are missing although one is needed, and why.

    Args:
        columns: columns that hold pictures; columns that the rows lack are ignored.
        root: folder that relative paths start from.
    """
    undecoded_rows = without_decoding(rows.with_format(None), *(name for name in columns if name in rows.column_names))
    if not undecoded_rows.column_names:
        return
    for index in indices:
        try:
            headers = [header(picture) for cell in undecoded_rows[index].values() for picture in undecoded(cell, root)]
            if required and not headers:
                yield index, f"it has no picture ({', '.join(undecoded_rows.column_names)} is null)"
        except ValueError as error:
            yield index, str(error)
