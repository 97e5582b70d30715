"""Updates that stay within the masks, as parametrizations of the pruned parameters.

Both act when the model reads a weight, so they hold under DDP, FSDP and gradient checkpointing alike, with any
optimizer that changes each entry by its own gradients (AdamW with weight decay and momentum, SGD).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from atv.finetuning.sites import Site
from atv.records.masks import PackedMask


class MaskedUpdate(nn.Module):
    """The weight itself, with a gradient of zero where it was pruned.

    A weight that starts at zero and has no gradient stays zero: its moments stay zero, and decay is a multiplication.
    The weight is not copied.
    """

    def __init__(self, kept: Tensor) -> None:
        super().__init__()
        self.mask = PackedMask(kept)

    def forward(self, weight: Tensor) -> Tensor:
        """Returns a view of the weight: the same values, in the same memory."""
        view = weight.view_as(weight)
        if view.requires_grad:
            view.register_hook(self.mask.cleared)
        return view


class MaskedLowRank(nn.Module):
    """LoRA (Hu et al., arXiv 2106.09685) with a masked product: W + M * (B A) * alpha / rank.

    Because masking breaks the low rank, the sum is computed at every forward: it costs the memory of a weight, and
    rank multiplications per entry.

    Args:
        kept: (..., out, in), True = kept; leading dimensions are experts, each with its own pair of matrices.
        dtype: dtype of the adapter.
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
        """Returns the weight plus its update, in the weight's dtype."""
        return weight + self.mask.cleared(self.up @ self.down * self.scale).to(weight.dtype)


def train_kept(sites: Sequence[Site]) -> None:
    """Makes every kept entry trainable."""
    _attach(sites, lambda site: MaskedUpdate(site.mask))
    for site in sites:
        site.module.get_parameter(f"parametrizations.{site.parameter}.original").requires_grad_(True)


def train_low_rank(sites: Sequence[Site], rank: int, alpha: float) -> None:
    """Gives every site a masked adapter; only the adapters are trained.

    Raises:
        ValueError: if the rank is below 1 or larger than the smallest side of a weight.
    """
    largest_rank = min(min(site.mask.shape[-2:]) for site in sites)
    if not 0 < rank <= largest_rank:
        raise ValueError(f"lora_rank: expected 1 to {largest_rank}, got {rank}")
    _attach(sites, lambda site: MaskedLowRank(site.mask, rank, alpha, site.weight.dtype))


def merge(sites: Sequence[Site]) -> None:
    """Replaces the parametrizations by ordinary parameters with the values that the model computes with."""
    for site in sites:
        parametrize.remove_parametrizations(site.module, site.parameter)


def _attach(sites: Sequence[Site], update: Callable[[Site], nn.Module]) -> None:
    for site in sites:
        # torch would call the forward once to check its shape and dtype; these updates keep both.
        parametrize.register_parametrization(site.module, site.parameter, update(site), unsafe=True)
