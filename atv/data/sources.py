"""Data from files, folders, the hub or the package itself, by what they are called."""

from pathlib import Path

from datasets import Dataset, load_from_disk

from atv import plugins
from atv.bundled import BUNDLED
from atv.data import Bundled, CalibrationData, CaptionedImages, HFDataset, ShareGPT4V
from atv.runtime.hub import is_hub_id


def load_calibration(data: str | CalibrationData) -> CalibrationData:
    """Calibration data by what they are: "bundled", a path, a hub id, or the name of a class that needs no argument.

    A .json or .jsonl file is ShareGPT4V's layout, its pictures in the same folder; parquet, folders with it and those
    made by ``save_to_disk`` are read by ``datasets``; other folders are pictures with captions.

    Raises:
        ValueError: for what is none of these, or cannot be read.
    """
    source = data if isinstance(data, CalibrationData) else _recognised(data)
    try:
        source.record()
    except plugins.ContractError as error:
        raise ValueError(f"calibration: {error}") from error
    source.check()
    return source


def _recognised(data: str) -> CalibrationData:
    if data == BUNDLED:
        return Bundled()
    path = Path(data)
    if path.suffix in (".json", ".jsonl"):
        return ShareGPT4V(path)
    if path.is_dir() and not _of_datasets(path):
        return CaptionedImages(path)
    if path.exists() or path.suffix == ".parquet" or is_hub_id(data):
        return HFDataset(data)
    return _named(data)


def _of_datasets(folder: Path) -> bool:
    """Whether the folder was saved by ``datasets`` (one split or several) or holds parquet."""
    saved = any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))
    return saved or next(folder.rglob("*.parquet"), None) is not None


def _named(data: str) -> CalibrationData:
    kinds = sorted({kind.__name__ for kind in plugins.subclasses(CalibrationData)})
    if data in kinds or ("." in data and all(part.isidentifier() for part in data.split("."))):
        return plugins.resolve(data, CalibrationData, "calibration")
    raise ValueError(
        f"calibration: {data!r} is neither {BUNDLED!r} nor a data set here (a file or folder), nor a hub id "
        f"(owner/name), nor one of {', '.join(kinds)}"
    )


def load_evaluation(data: str, split: str, groups: int | None = None) -> Dataset:
    """A split of the bundled evaluation suite, or a data set saved with ``Dataset.save_to_disk``.

    Args:
        groups: so many groups of questions of each task are enough; the suite draws no more, a saved one is whole.
    """
    if data == BUNDLED:
        from atv.bundled.data import GROUPS_A_TASK, evaluation_set

        most = GROUPS_A_TASK if groups is None else min(groups, GROUPS_A_TASK)
        return evaluation_set(split, most)  # type: ignore[arg-type]  # It names the choices itself.
    return _saved(data, "evaluation")


def _saved(data: str, field: str) -> Dataset:
    try:
        dataset = load_from_disk(data)
    except FileNotFoundError as error:
        raise ValueError(f"{field}: {data!r} is neither {BUNDLED!r} nor a data set saved to disk") from error
    if not isinstance(dataset, Dataset):
        raise ValueError(f"{field}: {data!r} holds several splits; name the folder of one")
    return dataset
