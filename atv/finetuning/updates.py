"""Updates that cannot leave the masks, as parametrizations of the pruned parameters.

Both act where the model reads a weight, so they hold under DDP, FSDP and gradient checkpointing alike, with any
optimizer that moves each entry by its own gradients (AdamW with weight decay and momentum, SGD).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from atv.finetuning.sites import Site
from atv.records.masks import PackedMask


class MaskedUpdate(nn.Module):
    """The weight itself; its gradient is zero where it was pruned.

    A weight that starts at zero and has no gradient stays at zero: moments stay zero, and decay multiplies. No copy of
    the weight is made.
    """

    def __init__(self, kept: Tensor) -> None:
        super().__init__()
        self.mask = PackedMask(kept)

    def forward(self, weight: Tensor) -> Tensor:
        """The same values, in the same memory."""
        seen = weight.view_as(weight)
        if seen.requires_grad:
            seen.register_hook(self.mask.cleared)
        return seen


class MaskedLowRank(nn.Module):
    """W + M * (B A) * alpha / rank: LoRA (Hu et al., arXiv 2106.09685), whose product is masked.

    The mask has full rank, so the sum is computed at every forward: the cost is a weight's size, and rank times its
    entries in products.

    Args:
        kept: (..., out, in), True = kept; leading dimensions are experts, each with its own pair.
        dtype: of the adapter.
    """

    def __init__(self, kept: Tensor, rank: int, alpha: float, dtype: torch.dtype) -> None:
        super().__init__()
        *experts, rows, columns = kept.shape
        self.mask, self.scale = PackedMask(kept), alpha / rank
        self.down = nn.Parameter(torch.empty(*experts, rank, columns, dtype=dtype))
        self.up = nn.Parameter(torch.zeros(*experts, rows, rank, dtype=dtype))
        bound = 1 / math.sqrt(columns)
        nn.init.uniform_(self.down, -bound, bound)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its update, in the weight's dtype."""
        return weight + self.mask.cleared(self.up @ self.down * self.scale).to(weight.dtype)


def train_kept(sites: Sequence[Site]) -> None:
    """Makes every kept entry trainable."""
    _attach(sites, lambda site: MaskedUpdate(site.kept))
    for site in sites:
        site.module.get_parameter(f"parametrizations.{site.parameter}.original").requires_grad_(True)


def train_low_rank(sites: Sequence[Site], rank: int, alpha: float) -> None:
    """Gives every site a masked adapter, which alone is trained.

    Raises:
        ValueError: for a rank larger than the smallest side of a weight.
    """
    most = min(min(site.kept.shape[-2:]) for site in sites)
    if not 0 < rank <= most:
        raise ValueError(f"lora_rank: expected 1 to {most}, got {rank}")
    _attach(sites, lambda site: MaskedLowRank(site.kept, rank, alpha, site.weight.dtype))


def merge(sites: Sequence[Site]) -> None:
    """Leaves ordinary parameters with the values that the model computed with."""
    for site in sites:
        parametrize.remove_parametrizations(site.module, site.parameter)


def _attach(sites: Sequence[Site], update: Callable[[Site], nn.Module]) -> None:
    for site in sites:
        # torch would check the forward once for its shape; ours keep it.
        parametrize.register_parametrization(site.module, site.parameter, update(site), unsafe=True)
