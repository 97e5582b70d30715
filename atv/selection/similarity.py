"""How alike the tokens of a sample are."""

import torch
from torch import Tensor
from torch.nn import functional as F


def cosines(rows: Tensor) -> Tensor:
    """Cosine of every pair of rows (n, width), in float32: (n, n)."""
    unit = F.normalize(rows.float(), dim=-1)
    return unit @ unit.T


def density(similarity: Tensor, visual: Tensor) -> Tensor:
    """How alike a sample's tokens are: float32, at most 1 (TAMP, arXiv 2504.09897).

    The mean of three: the mean of the positive cosines of two different visual tokens, the same of text tokens, and
    the mean cosine of a visual and a text token. Those that a sample has no pair for are left out; 0 without any.

    Args:
        similarity: cosines (n, n).
        visual: bool (n,).
    """
    parts = [_within(similarity[kind][:, kind]) for kind in (visual, ~visual) if int(kind.sum()) > 1]
    if visual.any() and not visual.all():
        parts.append(similarity[visual][:, ~visual].mean())
    return torch.stack(parts).mean() if parts else similarity.new_zeros(())


def _within(similarity: Tensor) -> Tensor:
    above = similarity.triu(1)
    positive = above[above > 0]
    return positive.mean() if len(positive) else similarity.new_zeros(())
