"""Pruning by operator splitting, followed by an update of the kept weights."""

from dataclasses import dataclass

import torch
from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics, Pruned
from atv.criteria.normal_equations import conjugate_gradients, damped, in_scaled_channels
from atv.patterns import Pattern
from atv.plugins import above_zero, at_least

# The authors' code checks the support every third step; when it barely changes, it may stop after step 30.
_CHECK_INTERVAL, _EARLIEST_STOP = 3, 30
_MAX_PENALTY = 1e6


class ALPS(Criterion):
    """ADMM whose penalty grows until the mask settles, then conjugate gradients for kept weights (arXiv 2406.07831).

    Channels are scaled by s_j = sqrt(H_jj), with H = G + ridge * mean(diag G) * I. Each step computes
    B = (H W0 - V + rho D) (H + rho I)^-1, D = the part of B + V / rho that the pattern keeps, and V += rho (B - D).
    Every third step, rho is multiplied by 1.3, 1.2 or 1.1 if over 10%, over 0.5% or fewer of the kept places changed.
    Until rho has grown for the first time, it falls to a fifth instead of growing by 1.1, and the iteration restarts.
    The iteration ends when no place changes, or when fewer than 0.03% change after 30 steps. If a mask was chosen
    beforehand, only conjugate gradients run.

    Args:
        ridge: share of the mean of the diagonal that is added to the diagonal.
        penalty: initial value of rho.
        iterations: maximum number of steps.
        polish: maximum number of conjugate gradient iterations on the final support, down to 1e-4 of the residual.

    Raises:
        ValueError: if an argument is out of range.
    """

    needs_gram = True

    def __init__(self, ridge: float = 0.01, penalty: float = 0.1, iterations: int = 300, polish: int = 10) -> None:
        above_zero(ridge=ridge, penalty=penalty)
        at_least(1, iterations=iterations, polish=polish)
        self.ridge, self.penalty, self.iterations, self.polish = ridge, penalty, iterations, polish

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        """Returns the scores of the dense weights, ``|W_ij| s_j``."""
        return self._in_scaled_channels(weight, pool)[0].abs()

    def prune(
        self, weight: Tensor, pool: PoolStatistics, pattern: Pattern, sparsity: float, mask: Tensor | None = None
    ) -> Pruned:
        dense, hessian, scale = self._in_scaled_channels(weight, pool)
        if mask is None:
            start, polish = self._split_operators(dense, hessian, pattern, sparsity), self.polish
            kept_mask = pattern.checked_mask(start.abs(), sparsity)
        else:
            start, polish, kept_mask = dense, self.iterations, mask.to(dense.device)
        if kept_mask.all():
            # Scaling channels back and forth would change the last bits.
            return Pruned(kept_mask, weight)
        solution, _ = conjugate_gradients(hessian.to(dense.dtype), dense, kept_mask, start * kept_mask, polish, 1e-4)
        return Pruned(kept_mask, solution / scale)

    def _split_operators(self, dense: Tensor, hessian: Tensor, pattern: Pattern, sparsity: float) -> Tensor:
        """Returns the result of the operator splitting, which is not yet sparse: (out, in)."""
        eigenvalues, eigenvectors = torch.linalg.eigh(hessian)
        target, rho = dense @ hessian.to(dense.dtype), _Penalty(self.penalty)
        inverse = _damped_inverse(eigenvalues, eigenvectors, rho.value).to(dense.dtype)
        mask = last_mask = pattern.checked_mask(dense.abs(), sparsity)
        solution, sparse, dual = dense, dense * mask, torch.zeros_like(dense)
        for step in range(1, self.iterations + 1):
            solution = (target - dual + rho.value * sparse) @ inverse
            combined = solution + dual / rho.value
            mask = pattern.checked_mask(combined.abs(), sparsity)
            sparse = combined * mask
            dual = dual + rho.value * (solution - sparse)
            if step % _CHECK_INTERVAL:
                continue
            changed, kept_count, last_mask = int((mask != last_mask).sum()), int(mask.sum()), mask
            restarts = rho.follow(changed, kept_count)
            if rho.settled or (step > _EARLIEST_STOP and changed <= 0.0003 * kept_count):
                break
            if restarts:
                dense_mask = pattern.checked_mask(dense.abs(), sparsity)
                solution, sparse, dual = dense, dense * dense_mask, torch.zeros_like(dense)
            inverse = _damped_inverse(eigenvalues, eigenvectors, rho.value).to(dense.dtype)
        return solution

    def _in_scaled_channels(self, weight: Tensor, pool: PoolStatistics) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the weight and H in channels scaled by the root of H's diagonal, and this root (in,)."""
        hessian = damped(pool.gathered("gram", self).to(weight.device), self.ridge)
        return in_scaled_channels(weight, hessian, hessian.diagonal().sqrt())


@dataclass
class _Penalty:
    """The penalty rho, whether it has ever grown, and whether the support has settled."""

    value: float
    grew: bool = False
    settled: bool = False

    def follow(self, changed: int, kept_count: int) -> bool:
        """Adapts rho to the number of changed places of the support; returns whether the iteration must restart."""
        restarts = False
        if changed > 0.1 * kept_count:
            self.value, self.grew = self.value * 1.3, True
        elif changed > 0.005 * kept_count:
            self.value, self.grew = self.value * 1.2, True
        elif changed and self.grew:
            self.value *= 1.1
        elif self.grew:
            self.settled = True
        else:
            self.value, restarts = self.value / 5, changed > 0
        self.value = min(self.value, _MAX_PENALTY)
        return restarts


def _damped_inverse(eigenvalues: Tensor, eigenvectors: Tensor, rho: float) -> Tensor:
    return (eigenvectors / (eigenvalues + rho)) @ eigenvectors.T
