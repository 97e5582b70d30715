"""Whether the pictures of questions are there: their headers are read before anything is asked."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from datasets import Dataset, Image

from atv.data.pictures import header, undecoded


def undecoded_pictures(rows: Dataset, columns: Sequence[str]) -> Dataset:
    """The columns alone, pictures as bytes or paths."""
    plain = rows.with_format(None).select_columns([column for column in columns if column in rows.column_names])
    for column, feature in plain.features.items():
        if isinstance(feature, Image):
            plain = plain.cast_column(column, Image(decode=False))
    return plain


def faulty_pictures(
    rows: Dataset, columns: Sequence[str], indices: Iterable[int], root: Path | None, needed: bool = True
) -> Iterator[tuple[int, str]]:
    """Rows whose pictures cannot be opened, or are missing where one is needed, and why.

    Args:
        columns: where pictures are; those that the rows lack do not count.
        root: folder of relative paths.
    """
    plain = undecoded_pictures(rows, columns)
    if not plain.column_names:
        return
    for index in indices:
        try:
            found = [header(picture) for cell in plain[index].values() for picture in undecoded(cell, root)]
            if needed and not found:
                yield index, f"it has no picture ({', '.join(plain.column_names)} is null)"
        except ValueError as error:
            yield index, str(error)
