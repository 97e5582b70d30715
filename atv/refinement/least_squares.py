"""The least squares solution under a mask."""

from torch import Tensor

from atv.criteria import PoolStatistics
from atv.criteria.normal_equations import at_least_float32, conjugate_gradients, damped, solve_by_cholesky
from atv.plugins import above_zero, at_least
from atv.refinement.base import Reconstruction


class LeastSquares(Reconstruction):
    """Exact least squares: w'_kept = H_kk^-1 (H w)_k for each row w, with H = X^T X / n + damping * mean(diag) * I.

    That is the least of (w - w') H (w - w')^T under the mask; the damping keeps w' near w where the pool says little.
    Rows are solved by conjugate gradients; those that are not done after ``iterations`` by a Cholesky factor of their
    own, in float64.

    Args:
        damping: share of the mean of the diagonal that is added to the diagonal, as SparseGPT's.
        tolerance: of the residual, as a share of what it is before; of a Gram whose spectrum falls as 1/k^2 the error
            was then above the least by less than 0.05%.
        iterations: of conjugate gradients.

    Raises:
        ValueError: for an argument out of range.
    """

    needs_gram = True

    def __init__(self, damping: float = 0.01, tolerance: float = 1e-4, iterations: int = 200) -> None:
        above_zero(damping=damping, tolerance=tolerance)
        at_least(0, iterations=iterations)
        self.damping, self.tolerance, self.iterations = damping, tolerance, iterations

    def reconstruct(self, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Tensor:
        hessian = damped(pool.gathered("gram", self).to(weight.device), self.damping)
        dense = at_least_float32(weight)
        kept = mask.to(weight.device)
        started = dense.masked_fill(~kept, 0)
        limits = self.iterations, self.tolerance
        solved, done = conjugate_gradients(hessian.to(dense.dtype), dense, kept, started, *limits)
        if not bool(done.all()):
            solved[~done] = solve_by_cholesky(hessian, dense[~done].double(), kept[~done]).to(dense.dtype)
        return solved
