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
    wide = at_least_float32(weight)
    return wide * scale.to(wide), hessian / scale / scale[:, None], scale.to(wide)


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
    turned, mean = hessian.flip(0, 1), diagonal.mean()
    for power in range(tries):
        raised = turned.clone()
        raised.diagonal().add_(damping * 10**power * mean)
        lower, failed = torch.linalg.cholesky_ex(raised)
        if not failed and lower.isfinite().all():
            identity = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
            return torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True), dead
        more = f"damping raised to {damping * 10 ** (power + 1):g}"
        warnings.warn(f"{asked_by}: X^T X is not positive definite, {more}", stacklevel=2)
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
    found, done = start.clone(), torch.zeros(len(weight), dtype=torch.bool, device=weight.device)
    left = torch.arange(len(weight), device=weight.device)
    rows, kept = start.clone(), mask.to(weight.dtype)
    residual = ((weight - start) @ hessian).mul_(kept)
    direction = residual * inverse
    size = (residual * direction).sum(1)
    enough = tolerance * size.sqrt()
    for iteration in range(iterations + 1):
        reached = size.sqrt() <= enough[left]
        if iteration % 8 == 0 or iteration == iterations or bool(reached.all()):
            found[left], done[left] = rows, reached
            left, rows, kept, residual, direction, size = (
                part[~reached] for part in (left, rows, kept, residual, direction, size)
            )
        if not len(left) or iteration == iterations:
            break
        image = (direction @ hessian).mul_(kept)
        step = size / _positive((direction * image).sum(1))
        rows += step[:, None] * direction
        residual -= step[:, None] * image
        gradient = residual * inverse
        before, size = size, (residual * gradient).sum(1)
        direction = gradient + (size / _positive(before))[:, None] * direction
    return found, done


def solve_by_cholesky(hessian: Tensor, weight: Tensor, mask: Tensor, entries: int = 1 << 24) -> Tensor:
    """Solves the same problem as ``conjugate_gradients`` by a Cholesky factorisation of each row's kept part of H.

    This is exact, but slow for many rows. Rows are solved in batches with similar numbers of kept weights, with about
    ``entries`` elements of H per batch.
    """
    solved, target, counts = torch.zeros_like(weight), weight @ hessian, mask.sum(1)
    padded = torch.nn.functional.pad(hessian, (0, 1, 0, 1))
    order, start = torch.argsort(counts, stable=True, descending=True), 0
    while start < len(order) and (most := int(counts[order[start]])):
        chosen = order[start : start + max(entries // most**2, 1)]
        # Indices of kept columns, in order, padded with the number of columns, which stands for none.
        columns = torch.where(mask[chosen], torch.arange(mask.shape[1], device=mask.device), mask.shape[1])
        columns = columns.sort(1).values[:, :most]
        none = columns == mask.shape[1]
        parts = padded[columns[:, :, None], columns[:, None, :]]
        parts.diagonal(dim1=1, dim2=2)[none] = 1
        wanted = torch.nn.functional.pad(target[chosen], (0, 1)).gather(1, columns)
        values = torch.cholesky_solve(wanted[:, :, None], torch.linalg.cholesky(parts))[:, :, 0]
        room = torch.nn.functional.pad(solved[chosen], (0, 1)).scatter_(1, columns, values.masked_fill(none, 0))
        solved[chosen] = room[:, :-1]
        start += len(chosen)
    return solved


def _positive(values: Tensor) -> Tensor:
    """Returns values of at least the smallest positive number, so that a row without residual does not divide by 0."""
    return values.clamp(min=torch.finfo(values.dtype).tiny)
