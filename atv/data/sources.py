"""Loads calibration and evaluation data by name: from files, folders, the hub or the package itself."""

import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from datasets import Dataset, load_from_disk
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from pydantic import TypeAdapter, ValidationError

from atv import plugins
from atv.bundled import BUNDLED, BUNDLED_MODEL
from atv.data import Bundled, CalibrationData, CaptionedImages, Everyday, HFDataset, Mixture, ShareGPT4V
from atv.data.captioned import listed, says_captions
from atv.data.row_files import SUFFIXES, files_of, split_files
from atv.data.wording import quoted, short
from atv.everyday.assembly.made_folder import EVERYDAY, read_manifest
from atv.records.quantization_record import QuantizationRecord
from atv.records.report_origin import recorded_base
from atv.runtime.hub import is_hub_id

TRAIN = "train"


def own_model(model: str) -> str:
    """Returns "everyday" or "bundled" if the model is that one or was made from it, else an empty string.

    The location of the model's folder does not matter.
    """
    for ancestor in _lineage(model):
        if _is_everyday(ancestor):
            return EVERYDAY
        if _is_bundled(ancestor):
            return BUNDLED
    return ""


def own_data(model: str) -> str:
    """Returns the default calibration and evaluation data of a model: "everyday" or "bundled".

    "bundled" also stands in for models that are neither of the two.
    """
    return own_model(model) or BUNDLED


def _is_everyday(model: str) -> bool:
    if model == EVERYDAY:
        return True
    with suppress(ValueError, OSError):
        read_manifest(Path(model))
        return True
    return False


def _is_bundled(model: str) -> bool:
    return model == BUNDLED or Path(model).resolve() == BUNDLED_MODEL.resolve()


def _lineage(model: str | None) -> Iterator[str]:
    """Yields the model, the one that it was made from, and so on; each once, as reports may name each other."""
    visited = set[str]()
    while model is not None and model not in visited:
        visited.add(model)
        yield model
        model = _base_model(model)


def _base_model(model: str) -> str | None:
    """Returns the dense or not yet quantized model that a folder's report names; None without such a report."""
    if (dense := recorded_base(Path(model))) is not None:
        return dense
    with suppress(ValueError, OSError):
        return QuantizationRecord.read(Path(model)).model
    return None


def load_calibration(data: str | CalibrationData | None, model: str = BUNDLED) -> CalibrationData:
    """Loads calibration data by name: "bundled", "everyday", a path, a hub id, or a class that needs no argument.

    None means the model's own data. For a model without any, the bundled model's drawings stand in, with a warning.

    A .json or .jsonl file is read in ShareGPT4V's layout, with its pictures in the same folder. HFDataset reads
    parquet, Arrow, CSV and TSV files, folders with parquet files, and folders written by ``save_to_disk``. All other
    folders hold pictures with captions (an ``imagefolder``), or files of rows with their pictures. ``Class:argument``
    is a class with its first argument. Names joined by " + " form a mixture, each optionally after a weight and "*".

    >>> load_calibration("3*bundled + BundledScenes:facts").record()["weights"]
    [3.0, 1.0]

    Raises:
        ValueError: if the name is none of these, or the data cannot be read.
    """
    if data is None:
        data = own_data(model)
        if not own_model(model):
            rank_zero_warn(
                f"calibration: no data were named, so the bundled model's drawings stand in, which are foreign to "
                f"{model}; name data like those that the model will see (--calibration)"
            )
    source = data if isinstance(data, CalibrationData) else _source_by_name(data)
    try:
        source.record()
    except plugins.ContractError as error:
        raise ValueError(f"calibration: {error}") from error
    source.check()
    return source


def _source_by_name(data: str) -> CalibrationData:
    if data in (BUNDLED, EVERYDAY):
        return Bundled() if data == BUNDLED else Everyday()
    if not data.strip():
        # As a path it would be the working folder. An unset shell variable is a likely cause.
        raise ValueError(f"calibration: {data!r} names no data")
    path = Path(data)
    if " + " in data and not path.exists():
        return _mixture(data.split(" + "))
    if path.suffix in (".json", ".jsonl"):
        return ShareGPT4V(path)
    if path.is_dir() and not _is_datasets_folder(path):
        return _source_of_plain_files(path)
    if path.exists() or path.suffix.lower() in SUFFIXES or is_hub_id(data):
        return HFDataset(data)
    return _source_with_argument(data) or _source_of_class(data)


def _mixture(terms: list[str]) -> Mixture:
    """Returns the mixture of sources, each weighted by the number before it, or by 1."""
    sources, weights = [], []
    for term in terms:
        weight, source = re.fullmatch(r"(?:([\d.]+)\s*\*)?(.*)", term.strip(), re.DOTALL).groups()  # type: ignore[union-attr]
        try:
            weights.append(1.0 if weight is None else float(weight))
        except ValueError as error:
            raise ValueError(f"calibration: {term.strip()!r} does not begin with a weight such as 0.5*") from error
        sources.append(_source_by_name(source.strip()))
    return Mixture(sources, weights)


def _source_with_argument(data: str) -> CalibrationData | None:
    """Returns the source for a class with its first argument after a colon; None for any other text."""
    name, colon, argument = data.partition(":")
    if not colon or name not in {source_class.__name__ for source_class in plugins.subclasses(CalibrationData)}:
        return None
    source_class = plugins.find(name, CalibrationData, "calibration")
    parameters = list(inspect.signature(source_class).parameters.values())
    if not parameters:
        raise ValueError(f"calibration: {name} takes no argument, got {argument!r}")
    parameter = parameters[0]
    value = (
        _source_by_name(argument) if parameter.annotation is CalibrationData else _converted(argument, parameter, data)
    )
    return plugins.resolve(name, CalibrationData, "calibration", **{parameters[0].name: value})


def _converted(argument: str, parameter: inspect.Parameter, data: str) -> Any:
    """Converts text to a number or boolean if the parameter is annotated as one; returns other text unchanged."""
    annotation = parameter.annotation
    if annotation not in (int, float, bool):
        return argument
    try:
        return TypeAdapter(annotation).validate_python(argument)
    except ValidationError as error:
        expected = f"expected {annotation.__name__}, got {argument!r}"
        raise ValueError(f"calibration: {data!r}: {parameter.name}: {expected}") from error


def _is_datasets_folder(folder: Path) -> bool:
    """Whether ``datasets`` saved the folder (one split or several), or it holds parquet files."""
    is_saved = any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))
    return is_saved or bool(files_of(folder, ".parquet"))


def _source_of_plain_files(folder: Path) -> CalibrationData:
    """Reads captioned pictures or, without captions, files of rows beside the pictures; of several splits "train"."""
    picture_folder = folder / TRAIN if not listed(folder) and _has_train_split(folder) else folder
    rows = sorted(file for suffix in ("json", "jsonl") for file in folder.glob(f"*.{suffix}"))
    if says_captions(picture_folder):
        return CaptionedImages(picture_folder)
    if not rows:
        return HFDataset(str(folder)) if files_of(folder, *SUFFIXES) else CaptionedImages(picture_folder)
    train_files = split_files(rows, folder, TRAIN, "calibration")
    if len(train_files) > 1:
        names = short(", ".join(file.name for file in train_files))
        raise ValueError(f"calibration: {quoted(str(folder), 120)} holds several files of rows; name one of {names}")
    return ShareGPT4V(train_files[0])


def _has_train_split(folder: Path) -> bool:
    """Whether the sub-folder train is a split: it has metadata, or has captions and another split beside it."""
    has_other_split = any((folder / name).is_dir() for name in ("test", "val", "valid", "validation", "dev", "eval"))
    return bool(listed(folder / TRAIN)) or (has_other_split and says_captions(folder / TRAIN))


def _source_of_class(data: str) -> CalibrationData:
    class_names = sorted({source_class.__name__ for source_class in plugins.subclasses(CalibrationData)})
    if data in class_names or ("." in data and all(word.isidentifier() for word in data.split("."))):
        return plugins.resolve(data, CalibrationData, "calibration")
    raise ValueError(
        f"calibration: {data!r} is neither {BUNDLED!r} nor {EVERYDAY!r} nor a local data set (a file or folder), nor a "
        f"hub id (owner/name), nor one of {', '.join(class_names)}"
    )


def load_evaluation(data: str, split: str, groups: int | None = None) -> Dataset:
    """Loads a split of the bundled or everyday evaluation suite, or a data set saved with ``Dataset.save_to_disk``.

    Args:
        groups: groups of questions to draw per task; the suite draws no more, a saved data set is loaded whole.
    """
    if data in (BUNDLED, EVERYDAY):
        world: Any = import_module(f"atv.{data}.data")
        group_limit = world.GROUPS_A_TASK if groups is None else min(groups, world.GROUPS_A_TASK)
        return world.evaluation_set(split, group_limit)
    return _saved_dataset(data, "evaluation")


def _saved_dataset(data: str, field: str) -> Dataset:
    try:
        dataset = load_from_disk(data)
    except FileNotFoundError as error:
        raise ValueError(
            f"{field}: {data!r} is neither {BUNDLED!r} nor {EVERYDAY!r} nor a data set saved to disk"
        ) from error
    if not isinstance(dataset, Dataset):
        raise ValueError(f"{field}: {data!r} holds several splits; name the folder of one")
    return dataset
