"""A folder of pictures with captions."""

from functools import cached_property
from pathlib import Path

import pandas as pd

from atv.data.base import Conversation, IndexedData

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
METADATA = ("metadata.csv", "metadata.jsonl")


class CaptionedImages(IndexedData):
    """A folder of pictures, each with a .txt of its name beside it, or all in metadata.csv or metadata.jsonl.

    Metadata are those of an ``imagefolder`` of ``datasets``: a column file_name, relative to the folder, and the
    caption.

    Args:
        folder: searched with its subfolders.
        prompt: what the user asks about every picture.
        caption: column of the metadata.
    """

    def __init__(self, folder: Path | str, prompt: str = "Describe this picture.", caption: str = "text") -> None:
        self.folder, self.prompt, self.caption = Path(folder), prompt, caption

    @cached_property
    def _captions(self) -> list[tuple[str, str]]:
        """Names of the pictures, in order, each with its caption."""
        if not self.folder.is_dir():
            raise ValueError(f"calibration.folder: no such folder {str(self.folder)!r}")
        listed = next((self.folder / name for name in METADATA if (self.folder / name).is_file()), None)
        return sorted(_of_files(self.folder) if listed is None else _of_metadata(listed, self.caption))

    def __len__(self) -> int:
        return len(self._captions)

    def read(self, index: int) -> Conversation:
        name, caption = self._captions[index]
        turns = [{"role": "user", "text": self.prompt}, {"role": "assistant", "text": caption}]
        return Conversation(name, turns, [self.folder / name])


def _of_files(folder: Path) -> list[tuple[str, str]]:
    pictures = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not pictures:
        raise ValueError(f"calibration.folder: no picture in {str(folder)!r}; suffixes read: {', '.join(SUFFIXES)}")
    bare = [file for file in pictures if not file.with_suffix(".txt").is_file()]
    if bare:
        raise ValueError(
            f"calibration.folder: {len(bare)} of {len(pictures)} pictures have no caption, such as {bare[0].name!r}; "
            f"expected {bare[0].with_suffix('.txt').name!r} beside it, or one of {', '.join(METADATA)}"
        )
    return [
        (file.relative_to(folder).as_posix(), file.with_suffix(".txt").read_text(encoding="utf-8").strip())
        for file in pictures
    ]


def _of_metadata(file: Path, caption: str) -> list[tuple[str, str]]:
    table = pd.read_csv(file, dtype=str) if file.suffix == ".csv" else pd.read_json(file, lines=True, dtype=False)
    if missing := [column for column in ("file_name", caption) if column not in table]:
        raise ValueError(
            f"calibration.folder: missing columns {', '.join(missing)} in {file.name}; "
            f"there are {', '.join(table)}. The option caption names another"
        )
    return list(zip(table["file_name"], table[caption], strict=True))
