"""Pruning with updates of the kept weights, by the alternating direction method of multipliers."""

import torch
from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics, Pruned
from atv.criteria.normal_equations import damped, in_scaled_channels
from atv.patterns import Pattern
from atv.patterns.counting import lowest
from atv.plugins import above_zero


class ADMM(Criterion):
    """ADMM that prunes more weights step by step, those with the lowest ``|W + U|`` (Boza, arXiv 2401.02938).

    Channels are scaled by s_j = sqrt(G_jj), so that W becomes W s and G has a diagonal of ones. With
    H = G + damping * I and a penalty of 1, each step computes Z = (W + U) o M, U += W - Z and
    W = (H W0 + Z - U) (H + I)^-1. In step t of the first ``growing`` steps, the mask M prunes the share
    S (1 - (1 - t / growing)^3) of the weights. If the pattern fixes the sparsity or removes whole blocks, M instead
    prunes the share 1 - (1 - t / growing)^3 of the weights that the pattern would prune. A mask chosen beforehand is
    kept.

    Damping applies to scaled channels, so it hardly restrains quiet channels. If N:M must keep weights of a group of
    channels that are all a hundred times as quiet as their neighbours, these weights may grow thirtyfold and do harm
    on data where the channels are loud. ``ALPS`` and ``SparseGPT`` damp by the mean of all channels.

    Args:
        damping: share of the mean of the diagonal that is added to the diagonal.
        iterations: total number of steps.
        growing: number of first steps that choose a new mask.

    Raises:
        ValueError: if an argument is out of range.
    """

    needs_gram = True

    def __init__(self, damping: float = 0.1, iterations: int = 20, growing: int = 15) -> None:
        above_zero(damping=damping)
        if not 1 <= growing <= iterations:
            raise ValueError(f"growing: expected 1 to {iterations} (iterations), got {growing}")
        self.damping, self.iterations, self.growing = damping, iterations, growing

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        """Returns the scores of the dense weights, ``|W_ij| s_j``."""
        return self._in_scaled_channels(weight, pool)[0].abs()

    def prune(
        self, weight: Tensor, pool: PoolStatistics, pattern: Pattern, sparsity: float, mask: Tensor | None = None
    ) -> Pruned:
        dense, gram, scale = self._in_scaled_channels(weight, pool)
        hessian = damped(gram, self.damping)
        inverse = torch.linalg.inv(hessian + torch.eye(len(hessian)).to(hessian)).to(dense.dtype)
        updated, dual = dense, torch.zeros_like(dense)
        kept_mask = torch.ones_like(updated, dtype=torch.bool) if mask is None else mask.to(updated.device)
        for step in range(1, self.iterations + 1):
            if mask is None and step <= self.growing:
                share = 1 - (1 - step / self.growing) ** 3
                kept_mask = growing_mask(pattern, (updated + dual).abs(), sparsity, share)
            sparse = (updated + dual) * kept_mask
            dual += updated - sparse
            # (H W0 + Z - U) (H + I)^-1 as a change of W0, so that nothing changes if nothing is pruned.
            updated = dense + (sparse - dual - dense) @ inverse
        # If nothing is pruned, scaling channels back and forth would change the last bits.
        return Pruned(kept_mask, weight if kept_mask.all() else (updated + dual) * kept_mask / scale)

    def _in_scaled_channels(self, weight: Tensor, pool: PoolStatistics) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the weight and the Gram matrix in channels scaled by their norms, and these norms (in,)."""
        gram = pool.gathered("gram", self).to(weight.device)
        norm = gram.diagonal().sqrt()
        # The norm of a channel that is never active counts as almost zero, as in the authors' code.
        norm = norm.clamp(min=1e-8 * (float(norm.max()) or 1.0))
        return in_scaled_channels(weight, gram, norm)


def growing_mask(pattern: Pattern, score: Tensor, sparsity: float, share: float) -> Tensor:
    """Returns an intermediate mask that prunes ``share`` of the weights that are pruned in the end, bool (out, in)."""
    if pattern.sparsity is None and not pattern.by_block:
        return pattern.checked_mask(score, sparsity * share)
    final_mask = pattern.checked_mask(score, sparsity)
    pruned_count = int((~final_mask).sum() * share)
    return ~lowest(score.masked_fill(final_mask, torch.inf).flatten(), pruned_count).view_as(final_mask)
