"""Whole blocks of the decoder."""

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
    """A block goes whole or stays whole, as the allocation says: of n blocks floor(n * sparsity) go.

    A block of which all Linears are zero hands on what it was given; the saved model is without it.
    """

    by_block = True
    sparsity = None

    def about(self, lvlm: LVLM, targets: Mapping[str, Target]) -> dict[str, Target]:
        if lacking := [name for name in lvlm.prunable if name not in targets]:
            raise ValueError(f"targets: WholeBlocks removes all of a block, and these leave out {lacking[0]}")
        return dict(targets)

    def check(self, lvlm: LVLM, targets: Mapping[str, Target], sparsity: float) -> None:
        check_blocks(lvlm)
        count = len(lvlm.blocks)
        if sparsity and not pruned_count(count, sparsity):
            raise ValueError(f"sparsity: {sparsity} of {count} blocks is none; ask for more")
        RemovedBlocks.of(lvlm, range(count - pruned_count(count, sparsity)), count).check(lvlm.model)

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        if sparsity not in (0, 1):
            raise ValueError(f"pattern: under WholeBlocks all of a Linear goes or nothing, not {sparsity} of it")
        return torch.full_like(score, not sparsity, dtype=torch.bool)

    def removal(self, lvlm: LVLM, masks: Mapping[str, Tensor]) -> Removal | None:
        stays: dict[int, bool] = {}
        for name, mask in masks.items():
            block = lvlm.block_of(name)
            stays[block] = stays.get(block, False) or bool(mask.any())
        kept = [block for block in sorted(stays) if stays[block]]
        return RemovedBlocks.of(lvlm, kept, len(stays))
