"""Semi-structured sparsity."""

import re

import torch
from einops import rearrange
from torch import Tensor

from atv.patterns.base import Pattern
from atv.patterns.counting import lowest


class NOfM(Pattern):
    """N:M sparsity, such as 2:4: keeps the ``n`` highest scores of every ``m`` consecutive inputs of a row.

    Args:
        n: number of inputs kept in each group.
        m: number of consecutive inputs in a group.

    Raises:
        ValueError: unless 0 < n < m.
    """

    def __init__(self, n: int, m: int) -> None:
        if not 0 < n < m:
            raise ValueError(f"pattern: N:M keeps N of every M inputs, so 0 < N < M; got {n}:{m}")
        self.n, self.m = n, m

    @classmethod
    def parse(cls, text: str) -> "NOfM":
        """Returns the pattern for text such as "2:4".

        Raises:
            ValueError: if the text is not N:M with 0 < N < M.
        """
        matched = re.fullmatch(r"(\d+):(\d+)", text)
        if not matched:
            raise ValueError(f"pattern: expected N:M such as '2:4', got {text!r}")
        return cls(int(matched[1]), int(matched[2]))

    @property
    def sparsity(self) -> float:
        return (self.m - self.n) / self.m

    def sweep_width(self, block: int) -> int:
        return self.m

    def swap_width(self, columns: int) -> int:
        return self.m

    def columns_mask(self, score: Tensor, sparsity: float, done: int) -> Tensor:
        return self.mask(score, sparsity)

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        if score.shape[-1] % self.m:
            raise ValueError(f"pattern: {self.n}:{self.m} does not divide a row of {score.shape[-1]} inputs")
        groups = rearrange(score, "out (group m) -> out group m", m=self.m)
        find_lowest = _lowest_of_few if self.m <= 16 else lowest
        return rearrange(~find_lowest(groups, self.m - self.n), "out group m -> out (group m)")


def _lowest_of_few(groups: Tensor, count: int) -> Tensor:
    """Computes ``lowest`` by comparing each pair of columns once, which is several times as fast for small groups."""
    columns = groups.unbind(-1)
    ranks = torch.zeros(len(columns), *groups.shape[:-1], dtype=torch.uint8, device=groups.device)
    for later in range(1, len(columns)):
        for earlier in range(later):
            earlier_is_lower = columns[earlier] <= columns[later]
            ranks[later] += earlier_is_lower
            ranks[earlier] += ~earlier_is_lower
    return (ranks < count).movedim(0, -1)
