"""Loads a model with its processor by name, and saves a pruned model as a complete folder."""

from pathlib import Path

import torch
from transformers import PreTrainedModel, ProcessorMixin
from transformers.utils import extract_commit_hash

from atv.bundled import BUNDLED
from atv.data.pixel_cap import cap_pixels
from atv.model.loading import load_model, load_offloaded_model, model_folder
from atv.model.offload import Offload
from atv.output.pruned_folder import write_pruned
from atv.records.files import writable
from atv.records.pruning_report import PruningReport
from atv.runtime.trainer import quiet_trainer


def load(
    model: str | Path = BUNDLED,
    *,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    offload: Offload | None = None,
    device: torch.device | None = None,
    scratch: str | Path | None = None,
    quantized: bool = False,
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Loads an LVLM and its processor as every command does: in the dtype of its config, only from safetensors.

    Args:
        model: "bundled", a folder, or a hub id (owner/name or owner/name@revision). Reports use this name.
        min_pixels, max_pixels: smallest and largest area of a picture, which are set in the processor (only for
            processors like Qwen-VL's).
        offload: "cpu" or "disk": where to keep the decoder's blocks that are not being pruned. None does not offload.
        device: device on which an offloaded model runs. None lets Lightning choose.
        scratch: folder for files that an offloaded model writes while it loads.
        quantized: whether a folder that ``quantize`` wrote may be loaded, with its weights as floats. Such a model can
            answer questions, but must not be pruned.
        trust_remote_code: whether code that comes with the model may run.

    Raises:
        ValueError: if the model does not exist or cannot be loaded, or does not support the options.
    """
    folder = model_folder(str(model), trust_remote_code)
    if offload is None:
        loaded_model, processor = load_model(folder, trust_remote_code, quantized)
    else:
        if scratch is None:
            raise ValueError("scratch: an offloaded model needs a folder to write to while it loads")
        device = device or quiet_trainer().strategy.root_device
        loaded_model, processor = load_offloaded_model(folder, offload, device, Path(scratch), trust_remote_code)
    loaded_model.name_or_path = str(model)
    # Only some releases of transformers set it themselves. None if the folder is not in the hub's cache.
    loaded_model.config._commit_hash = extract_commit_hash(str(folder / "config.json"), None)
    cap_pixels(processor, min_pixels, max_pixels)
    return loaded_model, processor


def save(
    folder: str | Path, model: PreTrainedModel, processor: ProcessorMixin | None, report: PruningReport
) -> PruningReport:
    """Saves a pruned model as ``atv prune`` does: in a folder that from_pretrained loads and ``verify`` can check.

    The folder holds weights (dense tensors with zeros), processor, masks.safetensors, report.json and model card. If it
    was the ``run_dir`` of ``prune``, the files stored there for resuming are removed.

    Args:
        processor: the model's processor. None if it has none; the saved model then cannot answer questions.
        report: the report that ``prune`` returned for this model.

    Returns:
        The report with a row for each target, as in report.json.

    Raises:
        ValueError: if the folder cannot be written, pathways are decoupled, or a weight that the masks prune is not
            zero.
    """
    return write_pruned(writable(folder, "folder"), model, processor, report)
