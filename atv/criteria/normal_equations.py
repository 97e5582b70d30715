"""The best values of kept weights, row by row: what the normal equations of a fixed mask give."""

import torch
from torch import Tensor


def damped(gram: Tensor, damping: float) -> Tensor:
    """The Gram with a share of its diagonal's mean added to the diagonal; a pool of zeros gives the identity."""
    mean = float(gram.diagonal().mean()) or 1.0
    return gram + damping * mean * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


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


def by_factors(hessian: Tensor, weight: Tensor, mask: Tensor, entries: int = 1 << 24) -> Tensor:
    """As ``conjugate_gradients``, by a Cholesky factor of each row's own part of H: exact, and dear for many rows.

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
