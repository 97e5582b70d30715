"""The least-squares solution for kept weights under a mask."""

from torch import Tensor

from atv.criteria import PoolStatistics
from atv.criteria.normal_equations import at_least_float32, conjugate_gradients, damped, solve_by_cholesky
from atv.plugins import above_zero, at_least
from atv.refinement.base import Reconstruction


class LeastSquares(Reconstruction):
    """Solves exactly for the kept weights that preserve a Linear's outputs best, w'_kept = H_kk^-1 (H w)_k.

    Here w is a row, and H = X^T X / n + damping * mean(diag) * I. The solution minimizes (w - w') H (w - w')^T under
    the mask; damping keeps w' close to w in directions about which the pool has little information. Rows are solved by
    conjugate gradients. Those that have not converged after ``iterations`` are solved by separate Cholesky
    factorisations in float64.

    Args:
        damping: share of the mean of the diagonal that is added to the diagonal, as in SparseGPT.
        tolerance: residual at which a row has converged, as a share of the initial one. For a Gram matrix whose
            spectrum falls as 1/k^2, the error was then less than 0.05% above the minimum.
        iterations: maximum number of conjugate gradient iterations.

    Raises:
        ValueError: if an argument is out of range.
    """

    needs_gram = True

    def __init__(self, damping: float = 0.01, tolerance: float = 1e-4, iterations: int = 200) -> None:
        above_zero(damping=damping, tolerance=tolerance)
        at_least(0, iterations=iterations)
        self.damping, self.tolerance, self.iterations = damping, tolerance, iterations

    def reconstruct(self, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        hessian = damped(pool.gathered("gram", self).to(weight.device), self.damping)
        dense = at_least_float32(weight)
        kept_mask = mask.to(weight.device)
        start = dense.masked_fill(~kept_mask, 0)
        limits = self.iterations, self.tolerance
        solved, converged = conjugate_gradients(hessian.to(dense.dtype), dense, kept_mask, start, *limits)
        if not bool(converged.all()):
            solved[~converged] = solve_by_cholesky(hessian, dense[~converged].double(), kept_mask[~converged]).to(
                dense.dtype
            )
        return solved
