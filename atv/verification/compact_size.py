"""What masks would save on disk, where of each pruned weight its bit-packed mask and the kept values were written."""

from dataclasses import dataclass

from atv.model.lvlm import targets_by_parameter
from atv.records.masks import PackedMasks
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
