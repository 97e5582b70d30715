"""Where the rows of a benchmark come from: the hub or a local copy."""

import re
from abc import ABC, abstractmethod
from pathlib import Path

import httpx
from datasets import Dataset, Image, load_dataset
from datasets.exceptions import DatasetsError

from atv.data.dataset_card import declared_files
from atv.data.hf_dataset import saved_split
from atv.data.row_files import load_files, split_files
from atv.data.wording import reason


class Source(ABC):
    """Reads splits of one data set; ``revision`` is known after the first read."""

    revision: str = "unknown"
    # The folder that relative paths to pictures start from.
    root: Path | None = None

    @abstractmethod
    def read(self, config: str | None, split: str) -> Dataset:
        """Reads a split; pictures from the hub are decoded as rows are read, those of a folder stay bytes and paths.

        Raises:
            ValueError: if the split cannot be found.
        """


class Hub(Source):
    """A data set on the hub, downloaded when it is read, under the first of its names that can be fetched."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def read(self, config: str | None, split: str) -> Dataset:
        first_error: Exception | None = None
        for name in self.names:
            try:
                rows = load_dataset(name, config, split=split)
            except (OSError, ValueError, RuntimeError, httpx.HTTPError, DatasetsError) as error:
                first_error = first_error or error
                continue
            commits = re.findall(r"@([0-9a-f]{40})/", " ".join(rows.info.download_checksums or {}))
            self.revision = commits[0] if commits else "unknown"
            # Read the rest of the data set under the same name.
            self.names = (name,)
            return with_pictures(rows)
        assert first_error is not None
        data_name = f"{' or '.join(self.names)} ({config or 'default'}, {split})"
        raise ValueError(
            f"data: cannot fetch {data_name} from the hub: {reason(first_error)}. Offline, name a local copy with "
            "--data FOLDER; for a gated data set, accept its terms on the hub and log in (hf auth login)"
        ) from first_error


class Folder(Source):
    """A local copy: parquet files laid out as on the hub, or what ``save_to_disk`` wrote.

    Args:
        folder: the data set's own folder, or one with a subfolder for each data set.
        names: names that the subfolder may have.
    """

    revision = "local"

    def __init__(self, folder: Path, *names: str) -> None:
        inner = [folder / name for name in names if (folder / name).is_dir()]
        self.folder = self.root = inner[0] if inner else folder

    def read(self, config: str | None, split: str) -> Dataset:
        if not self.folder.is_dir():
            raise ValueError(f"data: no folder {str(self.folder)!r}")
        # If the configuration has its own folder, its rows are only there.
        folder = self.folder / config if config and (self.folder / config).is_dir() else self.folder
        declared = declared_files(self.folder, config, split, "data")
        rows = load_files(declared, "train", "data") if declared else _read(folder, split)
        if rows is None:
            of_config = f"of {config} " if config else ""
            raise ValueError(
                f"data: {str(self.folder)!r} holds no split {split!r} {of_config}as parquet ({split}-*.parquet) or "
                "saved to disk"
            )
        # The library would resolve a relative path against the working directory.
        return with_pictures(rows, decode=False)


def _read(folder: Path, split: str) -> Dataset | None:
    try:
        for saved_folder in (folder, folder / split):
            if (found := saved_split(saved_folder, split, "data")) is not None:
                return found
    except OSError as error:
        raise ValueError(f"data: {str(folder)!r} cannot be read: {reason(error)}") from error
    # Do not search deeper: a folder next to these may be another data set.
    found = [file for pattern in ("*.parquet", "data/*.parquet", f"{split}/*.parquet") for file in folder.glob(pattern)]
    files = split_files(sorted(found), folder, split, "data")
    return load_files(files, "train", "data") if files else None


def with_pictures(rows: Dataset, decode: bool = True) -> Dataset:
    """Casts structs of bytes and path to pictures, because files written elsewhere do not declare them as such."""
    for column, feature in rows.features.items():
        if isinstance(feature, Image) or (isinstance(feature, dict) and feature.keys() == {"bytes", "path"}):
            rows = rows.cast_column(column, Image(decode=decode))
    return rows
