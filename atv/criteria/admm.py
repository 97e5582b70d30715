"""Pruning while kept weights are updated, by the alternating direction method of multipliers."""

import torch
from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics, Pruned
from atv.criteria.normal_equations import damped, in_scaled_channels
from atv.patterns import Pattern
from atv.patterns.counting import lowest
from atv.plugins import above_zero


class ADMM(Criterion):
    """ADMM with a mask that grows (Boza, arXiv 2401.02938): ``|W + U|`` decides, step by step, what goes.

    In channels scaled by s_j = sqrt(G_jj), so that W is W s and G has a diagonal of ones, with H = G + damping * I and
    a penalty of 1: Z = (W + U) o M, U += W - Z, W = (H W0 + Z - U) (H + I)^-1. In the first ``growing`` steps, t = 1
    and so on, the mask M prunes S (1 - (1 - t / growing)^3) of the weights; under a pattern with a sparsity of its own,
    or of whole blocks, that share of those that the pattern would prune. A mask that was chosen before stays.

    Damping counts in scaled channels, so little holds a quiet one: where N:M must keep weights of a group of channels
    that are all a hundred times as quiet as their neighbours, these may grow thirtyfold and cost data where they are
    loud. ``ALPS`` and ``SparseGPT`` damp by the mean of all channels.

    Args:
        damping: share of the mean of the diagonal that is added to the diagonal.
        iterations: steps in all.
        growing: steps in which the mask is chosen anew.

    Raises:
        ValueError: for an argument out of range.
    """

    needs_gram = True

    def __init__(self, damping: float = 0.1, iterations: int = 20, growing: int = 15) -> None:
        above_zero(damping=damping)
        if not 1 <= growing <= iterations:
            raise ValueError(f"growing: expected 1 to {iterations} (iterations), got {growing}")
        self.damping, self.iterations, self.growing = damping, iterations, growing

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        """The scores of the dense weights, |W_ij| s_j."""
        return self._scaled(weight, pool)[0].abs()

    def prune(
        self, weight: Tensor, pool: PoolStatistics, pattern: Pattern, sparsity: float, mask: Tensor | None = None
    ) -> Pruned:
        dense, gram, scale = self._scaled(weight, pool)
        hessian = damped(gram, self.damping)
        inverse = torch.linalg.inv(hessian + torch.eye(len(hessian)).to(hessian)).to(dense.dtype)
        updated, dual = dense, torch.zeros_like(dense)
        kept = torch.ones_like(updated, dtype=torch.bool) if mask is None else mask.to(updated.device)
        for step in range(1, self.iterations + 1):
            if mask is None and step <= self.growing:
                share = 1 - (1 - step / self.growing) ** 3
                kept = growing_mask(pattern, (updated + dual).abs(), sparsity, share)
            sparse = (updated + dual) * kept
            dual += updated - sparse
            # (H W0 + Z - U) (H + I)^-1 by what it moves, so that nothing moves where nothing goes.
            updated = dense + (sparse - dual - dense) @ inverse
        # Where nothing goes, to the scaled channels and back would move last bits.
        return Pruned(kept, weight if kept.all() else (updated + dual) * kept / scale)

    def _scaled(self, weight: Tensor, pool: PoolStatistics) -> tuple[Tensor, Tensor, Tensor]:
        """The weight and the Gram in channels scaled by their norms, and these (in,)."""
        gram = pool.gathered("gram", self).to(weight.device)
        norm = gram.diagonal().sqrt()
        # A channel that is never active counts as nearly nothing, as in the authors' code.
        norm = norm.clamp(min=1e-8 * (float(norm.max()) or 1.0))
        return in_scaled_channels(weight, gram, norm)


def growing_mask(pattern: Pattern, score: Tensor, sparsity: float, share: float) -> Tensor:
    """The mask on the way to a sparsity: ``share`` of what is to go in the end has gone, bool (out, in)."""
    if pattern.sparsity is None and not pattern.by_block:
        return pattern.checked_mask(score, sparsity * share)
    kept = pattern.checked_mask(score, sparsity)
    going = int((~kept).sum() * share)
    return ~lowest(score.masked_fill(kept, torch.inf).flatten(), going).view_as(kept)
