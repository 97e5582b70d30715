"""Models, processors and data from folders, the hub, or the package itself."""

from pathlib import Path
from typing import Any

from datasets import Dataset, load_from_disk
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin

BUNDLED = "bundled"
BUNDLED_MODEL = Path(__file__).parent / "bundled" / "model"


def model_folder(model: str) -> Path:
    """The folder of a model: the bundled one, or a path.

    Raises:
        ValueError: when there is no such folder or it holds no config.json.
    """
    folder = BUNDLED_MODEL if model == BUNDLED else Path(model)
    if not (folder / "config.json").is_file():
        raise ValueError(f"model: no model at {str(folder)!r} (a folder with config.json, or {BUNDLED!r})")
    return folder


def load_model(folder: Path, trust_remote_code: bool = False) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Model (in the dtype that its config names, safetensors only) and processor of a folder."""
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    model = AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, dtype="auto", **options)
    return model.eval(), load_processor(folder, trust_remote_code)


def load_processor(folder: Path, trust_remote_code: bool = False) -> ProcessorMixin:
    """The processor of a model's folder."""
    return AutoProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)


def load_calibration(data: str) -> Dataset:
    """The bundled calibration pool, or a data set saved with ``Dataset.save_to_disk``."""
    if data == BUNDLED:
        from atv.bundled.data import calibration_pool

        return calibration_pool()
    return _saved(data, "calibration")


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
