"""From a name to a model with its processor, and from a pruned model to a folder that has all of it."""

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
    """An LVLM and its processor, as every command loads them: in the dtype of its config, from safetensors alone.

    Args:
        model: "bundled", a folder, or a hub id (owner/name or owner/name@revision); reports call it by this name.
        min_pixels, max_pixels: smallest and largest area of a picture; the processor keeps them (Qwen-VL's kind).
        offload: "cpu" or "disk": where the decoder's blocks live while they are not pruned.
        device: where an offloaded model runs; None is what Lightning chooses.
        scratch: a folder for what an offloaded model writes while it loads.
        quantized: whether a folder that ``quantize`` wrote may be loaded, with floats for weights: it can be asked, and
            is not to be pruned.
        trust_remote_code: whether code that comes with the model may run.

    Raises:
        ValueError: for a model that is not there or cannot be loaded, or options that it cannot serve.
    """
    folder = model_folder(str(model), trust_remote_code)
    if offload is None:
        loaded, processor = load_model(folder, trust_remote_code, quantized)
    else:
        if scratch is None:
            raise ValueError("scratch: an offloaded model needs a folder to write to while it loads")
        device = device or quiet_trainer().strategy.root_device
        loaded, processor = load_offloaded_model(folder, offload, device, Path(scratch), trust_remote_code)
    loaded.name_or_path = str(model)
    # Which releases of transformers note themselves and others do not; None where the folder is not of the hub's cache.
    loaded.config._commit_hash = extract_commit_hash(str(folder / "config.json"), None)
    cap_pixels(processor, min_pixels, max_pixels)
    return loaded, processor


def save(
    folder: str | Path, model: PreTrainedModel, processor: ProcessorMixin | None, report: PruningReport
) -> PruningReport:
    """Writes a pruned model as ``atv prune`` does: a folder that from_pretrained loads and ``verify`` understands.

    Weights (dense tensors with zeros), processor, masks.safetensors, report.json and model card. Where the folder was
    the ``run_dir`` of ``prune``, what was kept there to go on from is cleared away.

    Args:
        processor: None for a model that has none, whose folder then cannot answer.
        report: what ``prune`` returned for this model.

    Returns:
        The report with a row for each target, as report.json has it.

    Raises:
        ValueError: when nothing can be written there, when pathways are decoupled, or when a weight that the masks
            prune is not zero.
    """
    return write_pruned(writable(folder, "folder"), model, processor, report)
