"""The token selection rule of TAMP."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atv.plugins import at_least
from atv.selection.base import Tokens, TokenSelection
from atv.selection.similarity import cosines, density


class AMIA(TokenSelection):
    """Text and visual tokens that together represent a Linear's outputs: AMIA of TAMP (arXiv 2504.09897).

    AMIA stands for adaptive multimodal input activation. Text and visual tokens compete, separately for each Linear.
    A token's score is the attention that the last query pays to it and to its neighbors, which are nearest by the
    cosine of the Linear's outputs. The rule repeatedly takes the token with the highest score and lowers the scores of
    its neighbors, until the taken tokens are distributed like all tokens. Norms are averaged over tokens.

    Args:
        neighbors: number of nearest tokens whose attention counts towards a token's score.
        decay: how fast the penalty falls with distance: a neighbor at distance d of a taken token loses
            exp(-decay * d) times the score of that token.
        tolerance: selection stops once the squared maximum mean discrepancy (Gaussian kernel with sigma 1 on the
            normalized outputs, including each token's pair with itself) is below tolerance * sqrt(1 - density).

    Raises:
        ValueError: if an argument is negative.
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
    """Returns which tokens are taken, bool (n,), when the best are taken first until they resemble all tokens.

    Every step depends on the previous one and handles few numbers, so the CPU is faster than an accelerator.

    Args:
        score: scores of the tokens (n,).
        near: indices of each token's neighbors (n, k), whose scores are lowered once the token is taken.
        lowering: share of the taken token's score that each of its neighbors loses (n, k).
        enough: discrepancy below which the taken tokens resemble all tokens.
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
    """Squared maximum mean discrepancy between all tokens and the tokens taken so far, for a kernel (n, n)."""

    def __init__(self, kernel: Tensor) -> None:
        self._to_all, self._among_all = kernel.mean(1).cpu().numpy(), kernel.mean().cpu().numpy()
        self._kernel = kernel.cpu().numpy()
        self._to_taken = np.zeros_like(self._to_all)
        self._among_taken, self._across, self._count = self._kernel.dtype.type(0), self._kernel.dtype.type(0), 0

    def take(self, token: int) -> float:
        """Adds a token to the taken ones and returns the new discrepancy."""
        self._among_taken += 2 * self._to_taken[token] + self._kernel[token, token]
        self._to_taken += self._kernel[:, token]
        self._across += self._to_all[token]
        self._count += 1
        return self._among_all + self._among_taken / self._count**2 - 2 * self._across / self._count


def nearest(distance: Tensor, count: int) -> Tensor:
    """Returns the indices (n, k) of each row's ``count`` nearest other rows, or of all if there are fewer.

    In a tie, the lower index comes first.
    """
    left = distance.clone().fill_diagonal_(torch.inf)
    indices = distance.new_zeros(len(distance), min(count, len(distance) - 1), dtype=torch.long)
    for place in range(indices.shape[1]):
        indices[:, place] = left.argmin(1)
        left.scatter_(1, indices[:, place : place + 1], torch.inf)
    return indices
