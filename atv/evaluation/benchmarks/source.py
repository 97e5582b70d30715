"""Where the rows of a benchmark come from: the hub, or a local copy of it."""

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import httpx
from datasets import Dataset, DatasetDict, Image, load_dataset, load_from_disk


class Source(ABC):
    """Reads splits of one data set; ``revision`` is known once something was read."""

    revision: str = "unknown"

    @abstractmethod
    def read(self, config: str | None, split: str) -> Dataset:
        """The rows of a split; pictures are decoded as rows are read.

        Raises:
            ValueError: when it cannot be found.
        """


class Hub(Source):
    """The data set on the hub, downloaded when it is read."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self, config: str | None, split: str) -> Dataset:
        try:
            rows = load_dataset(self.name, config, split=split)
        except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
            what = f"{self.name} ({config or 'default'}, {split})"
            raise ValueError(
                f"data: cannot fetch {what} from the hub: {error}. Offline, name a local copy with --data FOLDER; "
                "for a gated data set accept its terms on the hub and log in (hf auth login)"
            ) from error
        commits = re.findall(r"@([0-9a-f]{40})/", " ".join(rows.info.download_checksums or {}))
        self.revision = commits[0] if commits else "unknown"
        return with_pictures(rows)


class Folder(Source):
    """A local copy: parquet files laid out as on the hub, or what ``save_to_disk`` wrote.

    Args:
        folder: the data set's own folder, or one with a folder for each data set.
        names: what that folder may be called.
    """

    revision = "local"

    def __init__(self, folder: Path, *names: str) -> None:
        inner = [folder / name for name in names if (folder / name).is_dir()]
        self.folder = inner[0] if inner else folder

    def read(self, config: str | None, split: str) -> Dataset:
        if not self.folder.is_dir():
            raise ValueError(f"data: no folder {str(self.folder)!r}")
        places = [self.folder / config] if config else []
        for place in (*places, self.folder):
            if (rows := _saved(place, split)) is not None:
                return with_pictures(rows)
            if files := _parquet(place, split):
                return with_pictures(load_dataset("parquet", data_files=files, split="train"))
        what = f"of {config} " if config else ""
        raise ValueError(
            f"data: {str(self.folder)!r} holds no split {split!r} {what}as parquet ({split}-*.parquet) or saved to disk"
        )


def _saved(place: Path, split: str) -> Dataset | None:
    if (place / "state.json").is_file() or (place / "dataset_dict.json").is_file():
        rows = load_from_disk(str(place))
        return rows.get(split) if isinstance(rows, DatasetDict) else rows
    return _saved(place / split, split) if (place / split / "state.json").is_file() else None


def _parquet(place: Path, split: str) -> list[str]:
    """The split's files, where the hub's layouts have them; a folder of other names counts whole."""
    for pattern in (f"{split}-*.parquet", f"{split}.parquet", f"data/{split}-*.parquet", "*.parquet"):
        if files := sorted(map(str, place.glob(pattern))):
            return files
    return []


def with_pictures(rows: Dataset) -> Dataset:
    """The rows with their structs of bytes and path read as pictures, which files written elsewhere do not say."""
    for column, feature in rows.features.items():
        if _is_picture_struct(feature):
            rows = rows.cast_column(column, Image())
    return rows


def _is_picture_struct(feature: Any) -> bool:
    return isinstance(feature, dict) and feature.keys() == {"bytes", "path"}
