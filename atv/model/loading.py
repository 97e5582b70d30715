"""Models and processors from folders, the hub, or the package itself."""

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
    """The folder of a model: the bundled or the everyday one, a path, or where a hub id was fetched to.

    Args:
        model: "bundled", "everyday", a folder, or ``owner/name`` or ``owner/name@revision`` (only then is the network
            used).
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
        close = get_close_matches(model, (BUNDLED, EVERYDAY), 1, cutoff=0.75)
        raise ValueError(
            f"model: no model at {str(folder)!r} (a folder with config.json, a hub id owner/name, {BUNDLED!r} or "
            f"{EVERYDAY!r})" + (f"; did you mean {close[0]!r}?" if close else "")
        )
    return folder


def load_model(
    folder: Path, trust_remote_code: bool = False, quantized: bool = False
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Model (in the dtype that its config names, safetensors only) and processor of a folder.

    ``quantized`` says that one which ``atv quantize`` wrote may be loaded as well, with floats for weights.

    Raises:
        ValueError: for a folder whose model is quantized, not whole, or none that can be loaded, or a processor that
            cannot be used or does not fit the model.
    """
    few_bits = quantized and (folder / QUANTIZATION).is_file()
    checked = None if few_bits else check_folder(folder, trust_remote_code)
    # First, because it is small: what is wrong with it is known before gigabytes are read.
    processor = load_processor(folder, trust_remote_code)
    model = load_dequantized(folder, trust_remote_code) if checked is None else load_whole(checked)
    require_fit(processor, model)
    return model, processor


def load_offloaded_model(
    folder: Path, offload: Offload, device: torch.device, scratch: Path, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Model and processor of a folder, the decoder's blocks on the CPU or on disk; see ``load_offloaded``.

    Raises:
        ValueError: as ``load_model`` and ``load_offloaded`` do.
    """
    processor = load_processor(folder, trust_remote_code)
    model = load_offloaded(folder, offload, device, scratch, trust_remote_code)
    require_fit(processor, model)
    return model, processor


def load_processor(folder: Path, trust_remote_code: bool = False) -> ProcessorMixin:
    """The processor of a model's folder.

    Raises:
        ValueError: when it has no chat template, or needs a library that is not installed.
    """
    try:
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except Exception as error:  # Files of a folder are not ours; those that read videos need torchvision.
        raise ValueError(f"model: its processor ({str(folder)!r}) cannot be made: {reason(error)}") from error
    if not isinstance(processor, ProcessorMixin):
        raise ValueError(
            f"model: {str(folder)!r} holds a {type(processor).__name__} and no processor of pictures; add its "
            "processor_config.json and preprocessor_config.json"
        )
    require_chat_template(processor)
    return processor
