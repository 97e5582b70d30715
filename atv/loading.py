"""Models, processors and data from folders, the hub, or the package itself."""

from pathlib import Path
from typing import Any

from datasets import Dataset, load_from_disk
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin

from atv import plugins
from atv.data import Bundled, CalibrationData, CaptionedImages, HFDataset, ShareGPT4V
from atv.data.conversations import require_chat_template
from atv.everyday.assembly.location import EVERYDAY, made_model
from atv.hub import fetch_model, is_hub_id

BUNDLED = "bundled"
BUNDLED_MODEL = Path(__file__).parent / "bundled" / "model"


def model_folder(model: str, trust_remote_code: bool = False) -> Path:
    """The folder of a model: the bundled or the everyday one, a path, or where a hub id was fetched to.

    Args:
        model: "bundled", "everyday", a folder, or ``owner/name`` or ``owner/name@revision`` (only then is the network used).
        trust_remote_code: whether Python files are fetched too.

    Raises:
        ValueError: when there is no such folder, it holds no config.json, or the hub does not give the model.
    """
    if model == EVERYDAY:
        return made_model()
    if model != BUNDLED and not Path(model).exists() and is_hub_id(model):
        return fetch_model(model, trust_remote_code)
    folder = BUNDLED_MODEL if model == BUNDLED else Path(model)
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"model: no model at {str(folder)!r} (a folder with config.json, a hub id owner/name, {BUNDLED!r} or "
            f"{EVERYDAY!r})"
        )
    return folder


def load_model(folder: Path, trust_remote_code: bool = False) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Model (in the dtype that its config names, safetensors only) and processor of a folder."""
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    # First, because it is small: what is wrong with it is known before gigabytes are read.
    processor = load_processor(folder, trust_remote_code)
    model = AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, dtype="auto", **options)
    return model.eval(), processor


def load_processor(folder: Path, trust_remote_code: bool = False) -> ProcessorMixin:
    """The processor of a model's folder.

    Raises:
        ValueError: when it has no chat template, or needs a library that is not installed.
    """
    try:
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except ImportError as error:
        # Those that read videos need torchvision.
        raise ValueError(f"model: its processor cannot be made: {' '.join(str(error).split())}") from error
    require_chat_template(processor)
    return processor


def load_calibration(data: str | CalibrationData) -> CalibrationData:
    """Calibration data by what they are: "bundled", a path, a hub id, or the name of a class that needs no argument.

    A .json or .jsonl file is ShareGPT4V's layout, its pictures in the same folder; parquet, folders with it and those
    made by ``save_to_disk`` are read by ``datasets``; other folders are pictures with captions.

    Raises:
        ValueError: for what is none of these, or cannot be read.
    """
    found = data if isinstance(data, CalibrationData) else _recognised(data)
    found.check()
    return found


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


def load_evaluation(data: str, split: str) -> Dataset:
    """A split of the bundled evaluation suite, or a data set saved with ``Dataset.save_to_disk``."""
    if data == BUNDLED:
        from atv.bundled.data import evaluation_set

        return evaluation_set(split)  # type: ignore[arg-type]
    return _saved(data, "evaluation")


def _saved(data: str, field: str) -> Dataset:
    try:
        found = load_from_disk(data)
    except FileNotFoundError as error:
        raise ValueError(f"{field}: {data!r} is neither {BUNDLED!r} nor a data set saved to disk") from error
    if not isinstance(found, Dataset):
        raise ValueError(f"{field}: {data!r} holds several splits; name the folder of one")
    return found
