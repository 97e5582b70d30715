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
            return _beside(self.folder)
        try:
            return sorted(_of_metadata(metadata, self.caption), key=lambda row: row[0])
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


def _beside(folder: Path) -> list[tuple[str, Path]]:
    """Returns the readable pictures of a folder, each with the file beside it that holds its caption."""
    there = files_of(folder, *ENDINGS)
    pictures = [file for file in there if opens(file)]
    _say_what_is_passed_over(folder, [file for file in there if not opens(file)], others=bool(pictures))
    bare = [file for file in pictures if not file.with_suffix(".txt").is_file()]
    if bare:
        raise ValueError(
            f"calibration.folder: {len(bare)} of {len(pictures)} pictures have no caption, such as {bare[0].name!r}; "
            f"expected {bare[0].with_suffix('.txt').name!r} beside it, or one of {', '.join(METADATA)}"
        )
    return sorted((file.relative_to(folder).as_posix(), file.with_suffix(".txt")) for file in pictures)


def _say_what_is_passed_over(folder: Path, closed: list[Path], others: bool) -> None:
    """Warns about pictures in unreadable formats; raises ValueError if the folder has no others, or no picture."""
    named = f"{len(closed)} that the installed Pillow does not open, such as {closed[0].name!r}" if closed else ""
    if not others:
        read = ", ".join(ending for ending in ENDINGS if opens(Path(f"a{ending}")))
        held = f" but {named}" if closed else ""
        raise ValueError(f"calibration.folder: no picture in {str(folder)!r}{held}; readable suffixes: {read}")
    if closed:
        rank_zero_warn(f"calibration.folder: pictures in {str(folder)!r} are skipped, {named}; convert them")


def _of_metadata(file: Path, caption: str) -> list[tuple[str, Any]]:
    rows = _csv_rows(file) if file.suffix == ".csv" else json_lines(file)
    if odd := next((row for row in rows if not isinstance(row, dict)), None):
        raise ValueError(f"{file.name} holds {quoted(odd)}; expected one object per line")
    there = list(dict.fromkeys(name for row in rows for name in row))
    if missing := [column for column in ("file_name", caption) if column not in there]:
        raise ValueError(
            f"missing columns {', '.join(missing)} in {file.name}; "
            f"found {short(', '.join(map(str, there)))}. To name another, use the option caption"
        )
    if nameless := [number for number, row in enumerate(rows, 1) if not _is_name(row.get("file_name"))]:
        raise ValueError(f"row {nameless[0]} of {file.name} has no file_name ({len(nameless)} rows have none)")
    return [(row["file_name"], row.get(caption)) for row in rows]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _csv_rows(file: Path) -> list[dict[str, Any]]:
    table = table_of_texts(file)
    return [dict(zip(table, cells, strict=True)) for cells in zip(*table.values(), strict=True)]
