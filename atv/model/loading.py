"""Loads models and processors from folders, the hub, or the package itself."""

from difflib import get_close_matches
from pathlib import Path

import torch
from transformers import AutoProcessor, PreTrainedModel, ProcessorMixin

from atv.bundled import BUNDLED, BUNDLED_MODEL
from atv.data.chat_template import require_chat_template
from atv.data.wording import reason
from atv.everyday.assembly.made_folder import EVERYDAY, made_model
from atv.model.checkpoint import check_folder, load_dequantized, load_whole
from atv.model.offload import Offload, load_offloaded
from atv.model.processor_fit import require_fit
from atv.records.quantization_record import QUANTIZATION
from atv.runtime.hub import fetch_model, is_hub_id


def model_folder(model: str, trust_remote_code: bool = False) -> Path:
    """Returns the folder of a model: the bundled or everyday one, a path, or the download of a hub id.

    Args:
        model: "bundled", "everyday", a folder, or ``owner/name`` or ``owner/name@revision`` (only then is the network
            used).
        trust_remote_code: whether to download Python files too.

    Raises:
        ValueError: if there is no such folder, it holds no config.json, or the hub does not provide the model.
    """
    if model == EVERYDAY:
        return made_model()
    if model != BUNDLED and not Path(model).exists() and is_hub_id(model):
        return fetch_model(model, trust_remote_code)
    folder = BUNDLED_MODEL if model == BUNDLED else Path(model)
    if not (folder / "config.json").is_file():
        close_names = get_close_matches(model, (BUNDLED, EVERYDAY), 1, cutoff=0.75)
        raise ValueError(
            f"model: no model at {str(folder)!r} (a folder with config.json, a hub id owner/name, {BUNDLED!r} or "
            f"{EVERYDAY!r})" + (f"; did you mean {close_names[0]!r}?" if close_names else "")
        )
    return folder


def load_model(
    folder: Path, trust_remote_code: bool = False, quantized: bool = False
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Loads a folder's model (in the dtype that its config names, safetensors only) and processor.

    ``quantized`` also allows a model that ``atv quantize`` wrote, with its weights as floats.

    Raises:
        ValueError: if the model is quantized, incomplete or cannot be loaded, or the processor cannot be used or does
            not fit the model.
    """
    is_quantized = quantized and (folder / QUANTIZATION).is_file()
    checked = None if is_quantized else check_folder(folder, trust_remote_code)
    # The processor first, because it is small: its errors appear before gigabytes are read.
    processor = load_processor(folder, trust_remote_code)
    model = load_dequantized(folder, trust_remote_code) if checked is None else load_whole(checked)
    require_fit(processor, model)
    return model, processor


def load_offloaded_model(
    folder: Path, offload: Offload, device: torch.device, scratch: Path, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Loads a folder's model and processor, with the decoder's blocks on the CPU or disk; see ``load_offloaded``.

    Raises:
        ValueError: as in ``load_model`` and ``load_offloaded``.
    """
    processor = load_processor(folder, trust_remote_code)
    model = load_offloaded(folder, offload, device, scratch, trust_remote_code)
    require_fit(processor, model)
    return model, processor


def load_processor(folder: Path, trust_remote_code: bool = False) -> ProcessorMixin:
    """Loads the processor of a model's folder.

    Raises:
        ValueError: if it has no chat template, or needs a library that is not installed.
    """
    try:
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except Exception as error:  # A folder's files may raise anything; video processors need torchvision.
        raise ValueError(f"model: its processor ({str(folder)!r}) cannot be loaded: {reason(error)}") from error
    if not isinstance(processor, ProcessorMixin):
        raise ValueError(
            f"model: {str(folder)!r} holds a {type(processor).__name__} but no processor for pictures; add its "
            "processor_config.json and preprocessor_config.json"
        )
    require_chat_template(processor)
    return processor
