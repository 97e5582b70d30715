"""Pruning by operator splitting, and the best values of what is kept."""

from dataclasses import dataclass

import torch
from torch import Tensor

from atv.criteria.base import Criterion, PoolStatistics, Pruned
from atv.criteria.normal_equations import conjugate_gradients, damped, in_scaled_channels
from atv.patterns import Pattern
from atv.plugins import above_zero, at_least

# The authors' code looks at the support every third step, and may end after so many.
_EVERY, _EARLIEST = 3, 30
_MOST_PENALTY = 1e6


class ALPS(Criterion):
    """ADMM with a penalty that grows as the support settles, then conjugate gradients on it (arXiv 2406.07831).

    In channels scaled by s_j = sqrt(H_jj), H = G + ridge * mean(diag G) * I: B = (H W0 - V + rho D) (H + rho I)^-1,
    D = what the pattern keeps of B + V / rho, V += rho (B - D). Every third step rho grows by 1.3, 1.2 or 1.1 where
    over 10%, over 0.5% or fewer of the kept places changed; before it grew once, it falls to a fifth in place of the
    last, and all begins anew. No change ends it, or one under 0.03% after 30 steps. A mask that was chosen before is
    solved for by conjugate gradients alone.

    Args:
        ridge: share of the mean of the diagonal that is added to the diagonal.
        penalty: rho at first.
        iterations: steps at most.
        polish: iterations of conjugate gradients on the final support, down to 1e-4 of the residual.

    Raises:
        ValueError: for an argument out of range.
    """

    needs_gram = True

    def __init__(self, ridge: float = 0.01, penalty: float = 0.1, iterations: int = 300, polish: int = 10) -> None:
        above_zero(ridge=ridge, penalty=penalty)
        at_least(1, iterations=iterations, polish=polish)
        self.ridge, self.penalty, self.iterations, self.polish = ridge, penalty, iterations, polish

    def score(self, weight: Tensor, pool: PoolStatistics) -> Tensor:
        """The scores of the dense weights, |W_ij| s_j."""
        return self._scaled(weight, pool)[0].abs()

    def prune(
        self, weight: Tensor, pool: PoolStatistics, pattern: Pattern, sparsity: float, mask: Tensor | None = None
    ) -> Pruned:
        dense, hessian, scale = self._scaled(weight, pool)
        if mask is None:
            begun, polish = self._split(dense, hessian, pattern, sparsity), self.polish
            kept = pattern.checked_mask(begun.abs(), sparsity)
        else:
            begun, polish, kept = dense, self.iterations, mask.to(dense.device)
        if kept.all():
            # To the scaled channels and back would move last bits.
            return Pruned(kept, weight)
        solved, _ = conjugate_gradients(hessian.to(dense.dtype), dense, kept, begun * kept, polish, 1e-4)
        return Pruned(kept, solved / scale)

    def _split(self, dense: Tensor, hessian: Tensor, pattern: Pattern, sparsity: float) -> Tensor:
        """The result of the splitting, not yet sparse: (out, in)."""
        values, basis = torch.linalg.eigh(hessian)
        target, rho = dense @ hessian.to(dense.dtype), _Penalty(self.penalty)
        inverse = _inverse(values, basis, rho.value).to(dense.dtype)
        kept = seen = pattern.checked_mask(dense.abs(), sparsity)
        solution, sparse, dual = dense, dense * kept, torch.zeros_like(dense)
        for step in range(1, self.iterations + 1):
            solution = (target - dual + rho.value * sparse) @ inverse
            wanted = solution + dual / rho.value
            kept = pattern.checked_mask(wanted.abs(), sparsity)
            sparse = wanted * kept
            dual = dual + rho.value * (solution - sparse)
            if step % _EVERY:
                continue
            changed, kept_in_all, seen = int((kept != seen).sum()), int(kept.sum()), kept
            anew = rho.follow(changed, kept_in_all)
            if rho.done or (step > _EARLIEST and changed <= 0.0003 * kept_in_all):
                break
            if anew:
                first = pattern.checked_mask(dense.abs(), sparsity)
                solution, sparse, dual = dense, dense * first, torch.zeros_like(dense)
            inverse = _inverse(values, basis, rho.value).to(dense.dtype)
        return solution

    def _scaled(self, weight: Tensor, pool: PoolStatistics) -> tuple[Tensor, Tensor, Tensor]:
        """The weight and H in channels scaled by the root of H's diagonal, and that (in,)."""
        hessian = damped(pool.gathered("gram", self).to(weight.device), self.ridge)
        return in_scaled_channels(weight, hessian, hessian.diagonal().sqrt())


@dataclass
class _Penalty:
    """rho, whether it ever grew, and whether the support has settled."""

    value: float
    grew: bool = False
    done: bool = False

    def follow(self, changed: int, kept: int) -> bool:
        """Moves rho by how many places of the support changed; True where all is to begin anew."""
        anew = False
        if changed > 0.1 * kept:
            self.value, self.grew = self.value * 1.3, True
        elif changed > 0.005 * kept:
            self.value, self.grew = self.value * 1.2, True
        elif changed and self.grew:
            self.value *= 1.1
        elif self.grew:
            self.done = True
        else:
            self.value, anew = self.value / 5, changed > 0
        self.value = min(self.value, _MOST_PENALTY)
        return anew


def _inverse(values: Tensor, basis: Tensor, rho: float) -> Tensor:
    return (basis / (values + rho)) @ basis.T
