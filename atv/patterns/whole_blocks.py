"""Removal of whole decoder blocks."""

from collections.abc import Mapping

import torch
from torch import Tensor

from atv.model.lvlm import LVLM
from atv.model.removal import Removal
from atv.model.removed_structures import RemovedBlocks
from atv.model.structures import check_blocks
from atv.model.targets import Target
from atv.patterns.base import Pattern
from atv.patterns.counting import pruned_count


class WholeBlocks(Pattern):
    """Removes whole decoder blocks, which the allocation chooses: floor(n * sparsity) of n blocks.

    A block whose Linears are all zero returns its input unchanged; the saved model does not contain it.
    """

    by_block = True
    sparsity = None

    def about(self, lvlm: LVLM, targets: Mapping[str, Target]) -> dict[str, Target]:
        if missing_targets := [name for name in lvlm.prunable if name not in targets]:
            raise ValueError(
                f"targets: WholeBlocks removes whole blocks, but these targets leave out {missing_targets[0]}"
            )
        return dict(targets)

    def check(self, lvlm: LVLM, targets: Mapping[str, Target], sparsity: float) -> None:
        check_blocks(lvlm)
        count = len(lvlm.blocks)
        if sparsity and not pruned_count(count, sparsity):
            raise ValueError(f"sparsity: {sparsity} of {count} blocks is none; choose a higher sparsity")
        RemovedBlocks.of(lvlm, range(count - pruned_count(count, sparsity)), count).check(lvlm.model)

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        if sparsity not in (0, 1):
            raise ValueError(f"pattern: WholeBlocks prunes all of a Linear or nothing, not {sparsity} of it")
        return torch.full_like(score, not sparsity, dtype=torch.bool)

    def removal(self, lvlm: LVLM, masks: Mapping[str, Tensor]) -> Removal | None:
        is_kept: dict[int, bool] = {}
        for name, mask in masks.items():
            block = lvlm.block_of(name)
            is_kept[block] = is_kept.get(block, False) or bool(mask.any())
        kept_blocks = [block for block in sorted(is_kept) if is_kept[block]]
        return RemovedBlocks.of(lvlm, kept_blocks, len(is_kept))
