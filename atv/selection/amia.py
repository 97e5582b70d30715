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
        neighbors = nearest(distance, self.neighbors)
        neighbor_distance = distance.gather(1, neighbors)
        score = tokens.attention + (torch.exp(-neighbor_distance) * tokens.attention[neighbors]).sum(1)
        tolerance = self.tolerance * (1 - density(similarity, tokens.visual)).clamp(min=0).sqrt()
        lost_share = torch.exp(-self.decay * neighbor_distance)
        taken = _take_best(score, neighbors, lost_share, Discrepancy(torch.exp(-distance)), tolerance.item())
        return torch.from_numpy(taken).to(score.device)


def _take_best(
    score: Tensor, neighbors: Tensor, lost_share: Tensor, discrepancy: "Discrepancy", tolerance: float
) -> NDArray[np.bool_]:
    """Returns which tokens are taken, bool (n,), when the best are taken first until they resemble all tokens.

    Every step depends on the previous one and handles few numbers, so the CPU is faster than an accelerator.

    Args:
        score: scores of the tokens (n,).
        neighbors: indices of each token's neighbors (n, k), whose scores are lowered once the token is taken.
        lost_share: share of the taken token's score that each of its neighbors loses (n, k).
        tolerance: discrepancy below which the taken tokens resemble all tokens.
    """
    scores, neighbor_indices, lost_shares = (
        score.cpu().numpy().copy(),
        neighbors.cpu().numpy(),
        lost_share.cpu().numpy(),
    )
    for _ in range(len(scores)):
        best = int(scores.argmax())
        scores[neighbor_indices[best]] -= lost_shares[best] * max(scores[best], 0)
        scores[best] = -np.inf
        if discrepancy.take(best) < tolerance:
            break
    return np.isneginf(scores)


class Discrepancy:
    """Squared maximum mean discrepancy between all tokens and the tokens taken so far, for a kernel (n, n)."""

    def __init__(self, kernel: Tensor) -> None:
        self._to_all, self._among_all = kernel.mean(1).cpu().numpy(), kernel.mean().cpu().numpy()
        self._kernel = kernel.cpu().numpy()
        self._to_taken = np.zeros_like(self._to_all)
        self._among_taken, self._taken_to_all, self._count = self._kernel.dtype.type(0), self._kernel.dtype.type(0), 0

    def take(self, token: int) -> float:
        """Adds a token to the taken ones and returns the new discrepancy."""
        self._among_taken += 2 * self._to_taken[token] + self._kernel[token, token]
        self._to_taken += self._kernel[:, token]
        self._taken_to_all += self._to_all[token]
        self._count += 1
        return self._among_all + self._among_taken / self._count**2 - 2 * self._taken_to_all / self._count


def nearest(distance: Tensor, count: int) -> Tensor:
    """Returns the indices (n, k) of each row's ``count`` nearest other rows, or of all if there are fewer.

    In a tie, the lower index comes first.
    """
    remaining = distance.clone().fill_diagonal_(torch.inf)
    indices = distance.new_zeros(len(distance), min(count, len(distance) - 1), dtype=torch.long)
    for rank in range(indices.shape[1]):
        indices[:, rank] = remaining.argmin(1)
        remaining.scatter_(1, indices[:, rank : rank + 1], torch.inf)
    return indices
