"""A pruned block to and from what a run's folder keeps of it: masks by pathway, and the values that pruning changed."""

from collections.abc import Mapping

from torch import Tensor

from atv.criteria import Pruned
from atv.records.masks import PackedMasks
from atv.records.pruning_report import BlockReport
from atv.records.run_folder import FinishedBlock

# What a target's bias takes is kept beside its weight, under its name and this.
_SHIFT = "shift"


def pack_block(
    report: BlockReport, pruned: Mapping[str, Mapping[str, Pruned]], dense: Mapping[str, Tensor]
) -> FinishedBlock:
    """What is kept of a block.

    Args:
        pruned: pathway -> target -> what became of it.
        dense: the targets' weights as they were, (out, in).
    """
    changed: dict[str, Tensor] = {}
    for pathway, targets in pruned.items():
        for name, made in targets.items():
            if made.weight is not None:
                changed[f"{pathway}/{name}"] = made.applied_to(dense[name])
            if made.shift is not None:
                changed[f"{pathway}/{name}.{_SHIFT}"] = made.shift
    masks = {pathway: {name: made.mask for name, made in targets.items()} for pathway, targets in pruned.items()}
    return FinishedBlock(report, {pathway: PackedMasks(made) for pathway, made in masks.items()}, changed)


def unpack_block(block: FinishedBlock) -> dict[str, dict[str, Pruned]]:
    """Target -> pathway -> what became of it, of a block that was kept."""
    return {
        name: {
            pathway: Pruned(
                masks[name], block.weights.get(f"{pathway}/{name}"), block.weights.get(f"{pathway}/{name}.{_SHIFT}")
            )
            for pathway, masks in block.masks.items()
        }
        for name in next(iter(block.masks.values()))
    }
