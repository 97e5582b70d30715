"""Similarity of the tokens of a sample."""

import torch
from torch import Tensor
from torch.nn import functional as F


def cosines(rows: Tensor) -> Tensor:
    """Returns the cosine of every pair of rows of a tensor (n, width), in float32: (n, n)."""
    unit = F.normalize(rows.float(), dim=-1)
    return unit @ unit.T


def density(similarity: Tensor, visual: Tensor) -> Tensor:
    """Returns how similar a sample's tokens are: float32, at most 1 (TAMP, arXiv 2504.09897).

    It is the mean of three terms: the mean of the positive cosines between different visual tokens, the same for text
    tokens, and the mean cosine between visual and text tokens. A term for which the sample has no pair of tokens is
    left out; without any term, the result is 0.

    Args:
        similarity: cosines of all pairs of tokens (n, n).
        visual: which tokens are visual, bool (n,).
    """
    terms = [_mean_positive_cosine(similarity[mask][:, mask]) for mask in (visual, ~visual) if int(mask.sum()) > 1]
    if visual.any() and not visual.all():
        terms.append(similarity[visual][:, ~visual].mean())
    return torch.stack(terms).mean() if terms else similarity.new_zeros(())


def _mean_positive_cosine(similarity: Tensor) -> Tensor:
    upper_triangle = similarity.triu(1)
    positive = upper_triangle[upper_triangle > 0]
    return positive.mean() if len(positive) else similarity.new_zeros(())
