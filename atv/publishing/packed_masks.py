"""Packs a pruned model for publication: its masks, and what else is needed to restore it from its base model."""

import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from atv.evaluation.identity import prompt_settings
from atv.model.loading import load_processor, model_folder
from atv.model.lvlm import kept_places, targets_by_parameter
from atv.output.model_card import write_masks_card
from atv.output.pruned_folder import read_pruned
from atv.records.digests import whole_digest
from atv.records.files import atomic, empty_folder
from atv.records.masks import PackedMasks, save_masks
from atv.records.pruning_report import MASKS, BaseModel
from atv.verification.folder import verify
from atv.verification.saved_model import SavedModel, opened
from atv.verification.weight_checks import check_same_bits

DELTA, DELTA_FORMAT, PROCESSOR = "delta.safetensors", "atv-delta/1", "processor"


def pack_masks(
    folder: str | Path, output: str | Path, base: str | Path, *, trust_remote_code: bool = False
) -> dict[str, int]:
    """Packs a pruned model for publication: its masks, and what else is needed to restore it from its base model.

    masks.safetensors has one bit per weight; its metadata hold the name, revision and SHA-256 of the base model, and
    the SHA-256 of the pruned model. If kept weights were updated or trained, delta.safetensors has their new values,
    compressed. If the processor differs from the base model's, processor/ has it. The folder is verified first.

    Args:
        folder: folder of a pruned model.
        output: folder to write to: new or empty.
        base: the model that was pruned: a folder, hub id, or "bundled".
        trust_remote_code: whether code that comes with the model may run.

    Returns:
        File -> its size in bytes.

    Raises:
        ValueError: if the folder is not a pruned model's or holds a smaller model from which whole structures were
            removed, or if the output is not empty.
        VerificationError: if a tensor does not agree with the masks and the base model; the message names it.
    """
    source, dense, target = Path(folder), model_folder(str(base)), empty_folder(output, "output")
    report = read_pruned(source)
    if report.smaller:
        raise ValueError(f"folder: {str(source)!r} is a smaller model ({report.sizes}); publish the model itself")
    verify(source, dense, max_new_tokens=0, trust_remote_code=trust_remote_code)
    with opened(source, trust_remote_code) as pruned, opened(dense, trust_remote_code) as fresh:
        dense_digest, digest = (whole_digest(model.tensors, model.tensor) for model in (fresh, pruned))
        updates = updates_of(pruned, fresh, report.masks) if report.updates_weights or report.finetuning else {}
        base_model = report.base or BaseModel(str(base), None, type(fresh.lvlm.model).__name__, "unknown")
    origin = {"model": base_model.model, "revision": base_model.revision or "", "class": base_model.kind}
    save_masks(target / MASKS, report.masks, origin | {"digest": dense_digest, "becomes": digest})
    if updates:
        with atomic(target / DELTA) as path:
            save_file(updates, path, {"format": DELTA_FORMAT})
    _pack_processor(source, dense, target, trust_remote_code)
    report.write(target)
    write_masks_card(target, report, dense_digest, bool(updates))
    return {str(file.relative_to(target)): file.stat().st_size for file in sorted(target.rglob("*")) if file.is_file()}


def updates_of(pruned: SavedModel, fresh: SavedModel, masks: PackedMasks) -> dict[str, Tensor]:
    """Returns a ``delta`` of the kept values for each tensor in which they changed; each is unpacked to check it."""
    views, deltas = targets_by_parameter(fresh.lvlm), {}
    for name in pruned.tensors:
        pruned_values, base_values = pruned.tensor(name), fresh.tensor(name)
        kept = kept_places(base_values, views.get(name, {}), masks)
        new, old = pruned_values[kept], base_values[kept]
        if not torch.equal(new.view(torch.uint8), old.view(torch.uint8)):
            deltas[name] = delta(new, old)
            old = patched(old, deltas[name])
        check_same_bits(name, pruned_values, torch.zeros_like(base_values).masked_scatter_(kept, old))
    return deltas


def _pack_processor(source: Path, dense: Path, target: Path, trust_remote_code: bool) -> None:
    """Writes the processor if it reads words or pictures differently from the base model's, as after --max_pixels."""
    processor = load_processor(source, trust_remote_code)
    if prompt_settings(processor) != prompt_settings(load_processor(dense, trust_remote_code)):
        processor.save_pretrained(target / PROCESSOR)


def delta(new: Tensor, old: Tensor) -> Tensor:
    """Returns the compressed difference of two tensors (n,) of the same dtype: uint8 (bytes,).

    The values' bits are subtracted as integers. Signs move to the lowest bit, so that small steps in either direction
    become small numbers. All first bytes come before all second bytes, and so on; the high bytes of values that changed
    little are then zeros.
    """
    step = _bits(new) - _bits(old)
    size = step.itemsize
    folded = (step << 1) ^ (step.view(f"i{size}") >> (8 * size - 1)).view(step.dtype)
    planes = np.ascontiguousarray(folded.view(np.uint8).reshape(-1, size).T)
    return torch.frombuffer(bytearray(zlib.compress(planes.tobytes())), dtype=torch.uint8)


def patched(old: Tensor, packed: Tensor) -> Tensor:
    """Returns the new tensor (n,), computed from the old one and their ``delta``.

    Raises:
        ValueError: if the delta is broken, or belongs to a tensor of a different size.
    """
    bits = _bits(old)
    try:
        content = np.frombuffer(zlib.decompress(packed.numpy().tobytes()), np.uint8)
    except zlib.error as error:
        raise ValueError(f"its delta is broken: {error}") from error
    if content.size != bits.nbytes:
        raise ValueError(f"its delta has {content.size} bytes, but the tensor has {bits.nbytes}")
    folded = np.ascontiguousarray(content.reshape(bits.itemsize, -1).T).view(bits.dtype)[:, 0]
    step = (folded >> 1) ^ (0 - (folded & 1))
    return torch.from_numpy((bits + step).view(np.uint8)).view(old.dtype)


def _bits(tensor: Tensor) -> NDArray:
    """Returns the values' bits as integers (n,)."""
    values = tensor.detach().cpu().contiguous()
    return values.view(torch.uint8).numpy().view(f"u{values.itemsize}")
