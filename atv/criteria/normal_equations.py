"""The normal equations, H = X^T X with damping: a root of the inverse, sweeps by it, a fixed mask's best weights."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor


def damped(gram: Tensor, damping: float) -> Tensor:
    """The Gram with a share of its diagonal's mean added to the diagonal; a pool of zeros gives the identity."""
    mean = float(gram.diagonal().mean()) or 1.0
    return gram + damping * mean * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


def at_least_float32(weight: Tensor) -> Tensor:
    """The weight as it is, or in float32 where its dtype is narrower."""
    return weight.to(torch.promote_types(weight.dtype, torch.float32))


def in_scaled_channels(weight: Tensor, hessian: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A weight (out, in), at least float32, and H (in, in) in channels scaled by ``scale`` (in,), and that."""
    wide = at_least_float32(weight)
    return wide * scale.to(wide), hessian / scale / scale[:, None], scale.to(wide)


def inverse_root(hessian: Tensor, damping: float, asked_by: str, tries: int = 10) -> tuple[Tensor, Tensor]:
    """U, upper triangular, with U^T U = (H + damping * mean(diag H) * I)^-1: float64 (in, in); and which channels are
    never active: bool (in,).

    Of these H gets the mean of the diagonal (1 where none is active), so that damping is the same share whatever the
    inputs' scale. A damped H that is not positive definite is tried again with ten times the damping, and a warning
    says so.

    Args:
        hessian: H, float64 (in, in).
        damping: share of the mean of H's diagonal that is added to the diagonal at first.
        asked_by: the method that the warning and the error name.
        tries: dampings that are tried.

    Raises:
        ValueError: when no damping helps, as with values that are not finite.
    """
    hessian = hessian.clone()
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    diagonal[dead] = diagonal[~dead].mean() if bool((~dead).any()) else 1.0
    # H = R R^T with R upper triangular is the Cholesky factorisation of H turned by 180 degrees; then U = R^-1.
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
    raise ValueError(f"{asked_by} found no damping up to {damping * 10**tries:g} that lets X^T X be inverted")


def sweep(updated: Tensor, root: Tensor, step: int, settled: Callable[[int], Tensor]) -> None:
    """Settles the columns of ``updated`` (out, in) from left to right; those on the right make up for what each loses.

    In place, w_k -= (w_j - settled_j) / U_jj U_jk for all k >= j, with the ``root`` U in the same dtype. ``settled``
    gives what column j becomes (out,), asked when w_j is its last; ``step`` columns at a time, the rest waits.
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
    """Each row's w' that is zero where the mask prunes and has the least (w - w') H (w - w')^T.

    Conjugate gradients preconditioned by the diagonal, all rows at once: an iteration is one product with H. The error
    never rises. Rows that are done leave every eighth iteration.

    Args:
        hessian: H, positive definite (in, in).
        weight: dense (out, in), of the same dtype.
        mask: bool (out, in), True = kept.
        start: (out, in), zero where the mask prunes.
        iterations: at most so many.
        tolerance: a row is done when its residual, measured by the inverse diagonal, is this share of the first one.

    Returns:
        The rows (out, in), and which of them are done: bool (out,).
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
    """As ``conjugate_gradients``, by a Cholesky factor of each row's own part of H: exact, but slow for many rows.

    Rows are solved in batches of about the same number of kept weights, ``entries`` elements of H at a time.
    """
    solved, target, counts = torch.zeros_like(weight), weight @ hessian, mask.sum(1)
    padded = torch.nn.functional.pad(hessian, (0, 1, 0, 1))
    order, start = torch.argsort(counts, stable=True, descending=True), 0
    while start < len(order) and (most := int(counts[order[start]])):
        chosen = order[start : start + max(entries // most**2, 1)]
        # Columns kept, in order, then one more than there are, which stands for none.
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
    """A row whose residual vanished divides by no zero."""
    return values.clamp(min=torch.finfo(values.dtype).tiny)
