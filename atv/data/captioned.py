"""A folder of pictures with captions."""

from functools import cached_property
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from atv.data.base import Conversation, IndexedData
from atv.data.columns import PROMPT
from atv.data.pictures import ENDINGS, opens
from atv.data.row_files import files_of
from atv.data.text_files import json_lines, read_text, table_of_texts
from atv.data.turns import captioned
from atv.data.wording import quoted, short

METADATA = ("metadata.csv", "metadata.jsonl")


class CaptionedImages(IndexedData):
    """A folder of pictures with captions in .txt files of the same names, or in metadata.csv or metadata.jsonl.

    The metadata have the form of an ``imagefolder`` of ``datasets``: a column file_name, relative to the folder, and a
    column of captions. Pictures in formats that the installed Pillow does not open (such as HEIC) are skipped with a
    warning.

    Args:
        folder: folder that is searched together with its sub-folders.
        prompt: what the user asks about every picture.
        caption: column of captions in the metadata.
    """

    def __init__(self, folder: Path | str, prompt: str = PROMPT, caption: str = "text") -> None:
        self.folder, self.prompt, self.caption = Path(folder), prompt, caption

    @cached_property
    def _captions(self) -> list[tuple[str, Any]]:
        """The names of the pictures, in order, each with its caption or the file that holds it."""
        if not self.folder.is_dir():
            raise ValueError(f"calibration.folder: no such folder {str(self.folder)!r}")
        metadata = listed(self.folder)
        if metadata is None:
            return _with_caption_files(self.folder)
        try:
            return sorted(_metadata_captions(metadata, self.caption), key=lambda row: row[0])
        except ValueError as error:
            raise ValueError(f"calibration.folder: {error}") from error

    def __len__(self) -> int:
        return len(self._captions)

    def read(self, index: int) -> Conversation:
        name, caption = self._captions[index]
        try:
            turns = captioned(self.prompt, read_text(caption).strip() if isinstance(caption, Path) else caption)
        except ValueError as error:
            return Conversation(name, (), fault=str(error))
        return Conversation(name, turns, [self.folder / name])


def listed(folder: Path) -> Path | None:
    """Returns the metadata file of a folder, if it has one."""
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def says_captions(folder: Path) -> bool:
    """Whether a folder has captions for any of its pictures."""
    return listed(folder) is not None or any(file.with_suffix(".txt").is_file() for file in files_of(folder, *ENDINGS))


def _with_caption_files(folder: Path) -> list[tuple[str, Path]]:
    """Returns the readable pictures of a folder, each with the file beside it that holds its caption."""
    picture_files = files_of(folder, *ENDINGS)
    pictures = [file for file in picture_files if opens(file)]
    _warn_about_unreadable(folder, [file for file in picture_files if not opens(file)], others=bool(pictures))
    uncaptioned = [file for file in pictures if not file.with_suffix(".txt").is_file()]
    if uncaptioned:
        raise ValueError(
            f"calibration.folder: {len(uncaptioned)} of {len(pictures)} pictures have no caption, such as "
            f"{uncaptioned[0].name!r}; expected {uncaptioned[0].with_suffix('.txt').name!r} beside it, or "
            f"one of {', '.join(METADATA)}"
        )
    return sorted((file.relative_to(folder).as_posix(), file.with_suffix(".txt")) for file in pictures)


def _warn_about_unreadable(folder: Path, unreadable: list[Path], others: bool) -> None:
    """Warns about pictures in unreadable formats; raises ValueError if the folder has no others, or no picture."""
    unreadable_text = (
        f"{len(unreadable)} that the installed Pillow does not open, such as {unreadable[0].name!r}"
        if unreadable
        else ""
    )
    if not others:
        readable_suffixes = ", ".join(ending for ending in ENDINGS if opens(Path(f"a{ending}")))
        contrast = f" but {unreadable_text}" if unreadable else ""
        raise ValueError(
            f"calibration.folder: no picture in {str(folder)!r}{contrast}; readable suffixes: {readable_suffixes}"
        )
    if unreadable:
        rank_zero_warn(f"calibration.folder: pictures in {str(folder)!r} are skipped, {unreadable_text}; convert them")


def _metadata_captions(file: Path, caption: str) -> list[tuple[str, Any]]:
    rows = _csv_rows(file) if file.suffix == ".csv" else json_lines(file)
    if invalid_row := next((row for row in rows if not isinstance(row, dict)), None):
        raise ValueError(f"{file.name} holds {quoted(invalid_row)}; expected one object per line")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if missing := [column for column in ("file_name", caption) if column not in columns]:
        raise ValueError(
            f"missing columns {', '.join(missing)} in {file.name}; "
            f"found {short(', '.join(map(str, columns)))}. To name another, use the option caption"
        )
    if nameless := [number for number, row in enumerate(rows, 1) if not _is_name(row.get("file_name"))]:
        raise ValueError(f"row {nameless[0]} of {file.name} has no file_name ({len(nameless)} rows have none)")
    return [(row["file_name"], row.get(caption)) for row in rows]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _csv_rows(file: Path) -> list[dict[str, Any]]:
    table = table_of_texts(file)
    return [dict(zip(table, cells, strict=True)) for cells in zip(*table.values(), strict=True)]
