"""Converts a pruned block to and from what a run's folder keeps: masks by pathway, and the values that changed."""

from collections.abc import Mapping

from torch import Tensor

from atv.criteria import Pruned
from atv.records.masks import PackedMasks
from atv.records.pruning_report import BlockReport
from atv.records.run_folder import FinishedBlock

# The shift of a target's bias is kept beside its weight, under the target's name with this suffix.
_SHIFT = "shift"


def pack_block(
    report: BlockReport, pruned: Mapping[str, Mapping[str, Pruned]], dense: Mapping[str, Tensor]
) -> FinishedBlock:
    """Returns what the run's folder keeps of a block.

    Args:
        report: the block's report.
        pruned: pathway -> target -> its pruned form.
        dense: the targets' weights before pruning, (out, in).
    """
    changed: dict[str, Tensor] = {}
    for pathway, targets in pruned.items():
        for name, pruned_target in targets.items():
            if pruned_target.weight is not None:
                changed[f"{pathway}/{name}"] = pruned_target.applied_to(dense[name])
            if pruned_target.shift is not None:
                changed[f"{pathway}/{name}.{_SHIFT}"] = pruned_target.shift
    masks = {
        pathway: {name: pruned_target.mask for name, pruned_target in targets.items()}
        for pathway, targets in pruned.items()
    }
    return FinishedBlock(
        report, {pathway: PackedMasks(pruned_target) for pathway, pruned_target in masks.items()}, changed
    )


def unpack_block(block: FinishedBlock) -> dict[str, dict[str, Pruned]]:
    """Returns target -> pathway -> the target's pruned form, from a kept block."""
    return {
        name: {
            pathway: Pruned(
                masks[name], block.weights.get(f"{pathway}/{name}"), block.weights.get(f"{pathway}/{name}.{_SHIFT}")
            )
            for pathway, masks in block.masks.items()
        }
        for name in next(iter(block.masks.values()))
    }
