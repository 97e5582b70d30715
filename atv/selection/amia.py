"""TAMP's rule."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atv.plugins import at_least
from atv.selection.base import Tokens, TokenSelection
from atv.selection.similarity import cosines, density


class AMIA(TokenSelection):
    """TAMP's adaptive multimodal input activation: tokens that stand for a Linear's outputs (arXiv 2504.09897).

    Text and visual tokens compete, Linear by Linear. A token scores what the last query attends to it and to its
    neighbours, nearest by the cosine of the Linear's outputs; the best is taken, its neighbours are lowered, until
    what was taken is distributed like all tokens. Norms are averaged over tokens.

    Args:
        neighbors: nearest tokens that lend a token their attention.
        decay: how steeply a neighbour of a taken token is lowered with distance d, by exp(-decay * d) of its score.
        tolerance: stops once the squared maximum mean discrepancy (Gaussian kernel, sigma 1, of the normalised
            outputs, each token's pair with itself counted) is below tolerance * sqrt(1 - density).

    Raises:
        ValueError: for a negative argument.
    """

    needs_attention = True
    per_linear = True
    average = "tokens"

    def __init__(self, neighbors: int = 3, decay: float = 0.2, tolerance: float = 0.1) -> None:
        at_least(0, neighbors=neighbors, decay=decay, tolerance=tolerance)
        self.neighbors, self.decay, self.tolerance = neighbors, decay, tolerance

    def select(self, tokens: Tokens) -> Tensor:
        similarity = cosines(tokens.linear_output)
        distance = 1 - similarity
        near = nearest(distance, self.neighbors)
        near_distance = distance.gather(1, near)
        score = tokens.attention + (torch.exp(-near_distance) * tokens.attention[near]).sum(1)
        enough = self.tolerance * (1 - density(similarity, tokens.visual)).clamp(min=0).sqrt()
        lowering = torch.exp(-self.decay * near_distance)
        taken = _taken(score, near, lowering, Discrepancy(torch.exp(-distance)), enough.item())
        return torch.from_numpy(taken).to(score.device)


def _taken(
    score: Tensor, near: Tensor, lowering: Tensor, discrepancy: "Discrepancy", enough: float
) -> NDArray[np.bool_]:
    """Which tokens (n,) are taken, the best first, until they are like all.

    Each step waits for the one before and is of a handful of numbers: the processor does it faster than an accelerator.

    Args:
        score: (n,).
        near: the neighbours of each token (n, k), which are lowered once it is taken.
        lowering: by how much of its score each (n, k).
        enough: discrepancy at which they are like all.
    """
    left, neighbors, lowered = score.cpu().numpy().copy(), near.cpu().numpy(), lowering.cpu().numpy()
    for _ in range(len(left)):
        best = int(left.argmax())
        left[neighbors[best]] -= lowered[best] * max(left[best], 0)
        left[best] = -np.inf
        if discrepancy.take(best) < enough:
            break
    return np.isneginf(left)


class Discrepancy:
    """Squared maximum mean discrepancy between all tokens and those taken so far, for a kernel (n, n)."""

    def __init__(self, kernel: Tensor) -> None:
        self._to_all, self._among_all = kernel.mean(1).cpu().numpy(), kernel.mean().cpu().numpy()
        self._kernel = kernel.cpu().numpy()
        self._to_taken = np.zeros_like(self._to_all)
        self._among_taken, self._across, self._count = self._kernel.dtype.type(0), self._kernel.dtype.type(0), 0

    def take(self, token: int) -> float:
        """Adds a token and returns the new value."""
        self._among_taken += 2 * self._to_taken[token] + self._kernel[token, token]
        self._to_taken += self._kernel[:, token]
        self._across += self._to_all[token]
        self._count += 1
        return self._among_all + self._among_taken / self._count**2 - 2 * self._across / self._count


def nearest(distance: Tensor, count: int) -> Tensor:
    """Indices of each row's ``count`` nearest others (fewer if there are no more), of equal ones the first: (n, k)."""
    left = distance.clone().fill_diagonal_(torch.inf)
    indices = distance.new_zeros(len(distance), min(count, len(distance) - 1), dtype=torch.long)
    for place in range(indices.shape[1]):
        indices[:, place] = left.argmin(1)
        left.scatter_(1, indices[:, place : place + 1], torch.inf)
    return indices
