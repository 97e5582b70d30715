"""The normal equations with damped H = X^T X: inverse root, column sweeps, and best weights under a fixed mask."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor


def damped(gram: Tensor, damping: float) -> Tensor:
    """Returns the Gram matrix with ``damping`` times its diagonal's mean (1 if that is zero) added to the diagonal."""
    mean = float(gram.diagonal().mean()) or 1.0
    return gram + damping * mean * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


def at_least_float32(weight: Tensor) -> Tensor:
    """Returns the weight unchanged, or in float32 if its dtype is narrower."""
    return weight.to(torch.promote_types(weight.dtype, torch.float32))


def in_scaled_channels(weight: Tensor, hessian: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns a weight (out, in), in at least float32, and H (in, in) in channels scaled by ``scale`` (in,), and
    ``scale`` in the weight's dtype."""
    dense = at_least_float32(weight)
    return dense * scale.to(dense), hessian / scale / scale[:, None], scale.to(dense)


def inverse_root(hessian: Tensor, damping: float, asked_by: str, tries: int = 10) -> tuple[Tensor, Tensor]:
    """Returns an upper triangular U with U^T U = (H + damping * mean(diag H) * I)^-1, float64 (in, in), and which
    channels are never active, bool (in,).

    The diagonal entry of a channel that is never active becomes the mean of the others (1 if no channel is active), so
    that damping is the same share for inputs of any scale. If the damped H is not positive definite, the function
    warns and tries again with ten times the damping.

    Args:
        hessian: H, float64 (in, in).
        damping: share of the mean of H's diagonal that is added to the diagonal in the first try.
        asked_by: name of the method for the warning and the error.
        tries: number of dampings to try.

    Raises:
        ValueError: if no damping helps, for example because H has values that are not finite.
    """
    hessian = hessian.clone()
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    diagonal[dead] = diagonal[~dead].mean() if bool((~dead).any()) else 1.0
    # H = R R^T with upper triangular R is the Cholesky factorisation of H rotated by 180 degrees; then U = R^-1.
    rotated, mean = hessian.flip(0, 1), diagonal.mean()
    for power in range(tries):
        damped_rotated = rotated.clone()
        damped_rotated.diagonal().add_(damping * 10**power * mean)
        lower, failed = torch.linalg.cholesky_ex(damped_rotated)
        if not failed and lower.isfinite().all():
            identity = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
            return torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True), dead
        raised = f"damping raised to {damping * 10 ** (power + 1):g}"
        warnings.warn(f"{asked_by}: X^T X is not positive definite, {raised}", stacklevel=2)
    raise ValueError(f"{asked_by}: X^T X cannot be inverted with any damping up to {damping * 10**tries:g}")


def sweep(updated: Tensor, root: Tensor, step: int, settled: Callable[[int], Tensor]) -> None:
    """Settles the columns of ``updated`` (out, in) from left to right; columns on the right compensate for each error.

    The update is in place: w_k -= (w_j - settled_j) / U_jj U_jk for all k >= j, with the ``root`` U in the same dtype.
    ``settled`` returns the final value of column j (out,) and is called once w_j has received all updates from its
    left. Updates reach the next ``step`` columns only after the current ones are settled.
    """
    columns = updated.shape[1]
    for start in range(0, columns, step):
        end = min(start + step, columns)
        errors = torch.zeros_like(updated[:, start:end])
        for column in range(start, end):
            error = (updated[:, column] - settled(column)) / root[column, column]
            errors[:, column - start] = error
            updated[:, column:end] -= torch.outer(error, root[column, column:end])
        updated[:, end:] -= errors @ root[start:end, end:]


def conjugate_gradients(
    hessian: Tensor, weight: Tensor, mask: Tensor, start: Tensor, iterations: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Finds for each row w the w' that minimizes (w - w') H (w - w')^T and is zero where the mask prunes.

    It runs conjugate gradients, preconditioned by the diagonal, on all rows at once: an iteration is one product with
    H. The error never rises. Converged rows are removed at every eighth iteration.

    Args:
        hessian: H, positive definite (in, in).
        weight: dense weight (out, in), in the same dtype.
        mask: bool (out, in), True = kept.
        start: initial w' (out, in), zero where the mask prunes.
        iterations: maximum number of iterations.
        tolerance: a row has converged when its residual, in the norm of the inverse diagonal, is at most this share of
            the initial one.

    Returns:
        The rows w' (out, in), and which of them have converged, bool (out,).
    """
    inverse = hessian.diagonal().reciprocal()
    solution, converged = start.clone(), torch.zeros(len(weight), dtype=torch.bool, device=weight.device)
    active = torch.arange(len(weight), device=weight.device)
    rows, float_mask = start.clone(), mask.to(weight.dtype)
    residual = ((weight - start) @ hessian).mul_(float_mask)
    direction = residual * inverse
    squared_residual = (residual * direction).sum(1)
    limit = tolerance * squared_residual.sqrt()
    for iteration in range(iterations + 1):
        below_limit = squared_residual.sqrt() <= limit[active]
        if iteration % 8 == 0 or iteration == iterations or bool(below_limit.all()):
            solution[active], converged[active] = rows, below_limit
            active, rows, float_mask, residual, direction, squared_residual = (
                state[~below_limit] for state in (active, rows, float_mask, residual, direction, squared_residual)
            )
        if not len(active) or iteration == iterations:
            break
        image = (direction @ hessian).mul_(float_mask)
        step_length = squared_residual / _positive((direction * image).sum(1))
        rows += step_length[:, None] * direction
        residual -= step_length[:, None] * image
        gradient = residual * inverse
        last_squared, squared_residual = squared_residual, (residual * gradient).sum(1)
        direction = gradient + (squared_residual / _positive(last_squared))[:, None] * direction
    return solution, converged


def solve_by_cholesky(hessian: Tensor, weight: Tensor, mask: Tensor, entries: int = 1 << 24) -> Tensor:
    """Solves the same problem as ``conjugate_gradients`` by a Cholesky factorisation of each row's kept part of H.

    This is exact, but slow for many rows. Rows are solved in batches with similar numbers of kept weights, with about
    ``entries`` elements of H per batch.
    """
    solved, target, counts = torch.zeros_like(weight), weight @ hessian, mask.sum(1)
    padded_hessian = torch.nn.functional.pad(hessian, (0, 1, 0, 1))
    order, start = torch.argsort(counts, stable=True, descending=True), 0
    while start < len(order) and (widest := int(counts[order[start]])):
        batch = order[start : start + max(entries // widest**2, 1)]
        # Indices of kept columns, in order, padded with the number of columns, which stands for none.
        columns = torch.where(mask[batch], torch.arange(mask.shape[1], device=mask.device), mask.shape[1])
        columns = columns.sort(1).values[:, :widest]
        is_padding = columns == mask.shape[1]
        kept_hessians = padded_hessian[columns[:, :, None], columns[:, None, :]]
        kept_hessians.diagonal(dim1=1, dim2=2)[is_padding] = 1
        kept_targets = torch.nn.functional.pad(target[batch], (0, 1)).gather(1, columns)
        values = torch.cholesky_solve(kept_targets[:, :, None], torch.linalg.cholesky(kept_hessians))[:, :, 0]
        padded_rows = torch.nn.functional.pad(solved[batch], (0, 1)).scatter_(
            1, columns, values.masked_fill(is_padding, 0)
        )
        solved[batch] = padded_rows[:, :-1]
        start += len(batch)
    return solved


def _positive(values: Tensor) -> Tensor:
    """Returns values of at least the smallest positive number, so that a row without residual does not divide by 0."""
    return values.clamp(min=torch.finfo(values.dtype).tiny)
