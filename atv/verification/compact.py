"""What masks save on disk: of each pruned weight its bit-packed mask and the values that were kept."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from atv.model.lvlm import targets_by_parameter
from atv.records.files import atomic
from atv.records.masks import PackedMasks, load_masks, save_masks
from atv.verification.saved_model import SavedModel


@dataclass(frozen=True)
class Sizes:
    """Bytes of a model's tensors as they are, and with masks and compacted values in place of pruned weights."""

    dense: int
    compact: int

    @property
    def share(self) -> float:
        return self.compact / self.dense


def sizes(model: SavedModel, masks: PackedMasks) -> Sizes:
    """Counted, without reading a weight; file headers excepted."""
    dense = sum(value.numel() * value.itemsize for value in model.tensors.values())
    views = targets_by_parameter(model.lvlm)
    itemsize = {name: model.tensors[site].itemsize for site, targets in views.items() for name in targets}
    saved = sum((mask.numel() - int(mask.count_nonzero())) * itemsize[name] for name, mask in masks.items())
    return Sizes(dense, dense - saved + sum(packed.numel() for packed in masks.packed.values()))


def save_compact(model: SavedModel, masks: PackedMasks, folder: Path) -> int:
    """Writes values.safetensors and masks.safetensors, and returns their bytes; the whole model passes the memory.

    No inference engine reads them: they are for keeping and sending.
    """
    values: dict[str, Tensor] = {}
    views = targets_by_parameter(model.lvlm)
    for name in model.tensors:
        tensor, masked = model.tensor(name), [target for target in views.get(name, {}) if target in masks]
        if masked:
            values |= {f"{name}@{target}": views[name][target](tensor)[masks[target]] for target in masked}
            rest = [target for target in views[name] if target not in masks]
            values |= {f"{name}@{target}": views[name][target](tensor).contiguous() for target in rest}
        else:
            values[name] = tensor.contiguous()
    with atomic(folder / "values.safetensors") as path:
        save_file(values, path)
    save_masks(folder / "masks.safetensors", masks)
    return sum((folder / f"{part}.safetensors").stat().st_size for part in ("values", "masks"))


def load_target(folder: Path, parameter: str, target: str) -> Tensor:
    """The sparse weight (out, in) of a target that ``save_compact`` wrote."""
    mask = load_masks(folder / "masks.safetensors")[target]
    with safe_open(folder / "values.safetensors", "pt") as file:
        values = file.get_tensor(f"{parameter}@{target}")
    return torch.zeros(mask.shape, dtype=values.dtype).masked_scatter_(mask, values)
