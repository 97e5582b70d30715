"""Pictures in a benchmark's rows, none decoded: whether they are there, and the digest that identifies a question."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, Image

from atv.data.hf_dataset import without_decoding
from atv.data.pictures import header, undecoded

# Where the pictures are a data set of their own, a benchmark leaves each row's digest in this column.
PICTURE_DIGEST = "picture_digest"


def seen(
    rows: Dataset,
    places: Sequence[int],
    texts: Sequence[str],
    columns: Sequence[str] = (),
    root: Path | None = None,
) -> list[dict[str, str]]:
    """Digests for each question: ``seen`` of its text and of the bytes of every picture in its row, none decoded;
    ``picture`` of the pictures alone, "" where there is none.

    Args:
        rows: of the benchmark.
        places: the question's row.
        texts: the question's turn.
        columns: that hold pictures of whatever form, beside those of pictures by their type.
        root: folder of relative paths.
    """
    pictured = [name for name, feature in rows.features.items() if isinstance(feature, Image) or name in columns]
    parts = without_decoding(rows.with_format(None), *pictured).select(places) if pictured else [{} for _ in places]
    return [
        {"seen": _digest(text, row, root), "picture": _digest("", row, root) if any(row.values()) else ""}
        for text, row in zip(texts, parts, strict=True)
    ]


def picture_digest(cell: Any, root: Path | None = None) -> bytes:
    """Of a picture as a cell holds it: bytes, a path, a struct of both, or text; lists of these count in order.

    Args:
        root: folder of relative paths.
    """
    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, list | tuple):
        cell = b"".join(picture_digest(each, root) for each in cell)
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
    rows: Dataset, columns: Sequence[str], indices: Iterable[int], root: Path | None, needed: bool = True
) -> Iterator[tuple[int, str]]:
    """Rows whose pictures cannot be opened, or are missing where one is needed, and why.

    Args:
        columns: where pictures are; those that the rows lack do not count.
        root: folder of relative paths.
    """
    plain = without_decoding(rows.with_format(None), *(name for name in columns if name in rows.column_names))
    if not plain.column_names:
        return
    for index in indices:
        try:
            found = [header(picture) for cell in plain[index].values() for picture in undecoded(cell, root)]
            if needed and not found:
                yield index, f"it has no picture ({', '.join(plain.column_names)} is null)"
        except ValueError as error:
            yield index, str(error)
