"""Semi-structured sparsity."""

import re

from einops import rearrange
from torch import Tensor

from atv.patterns.base import Pattern, lowest


class NOfM(Pattern):
    """Of every ``m`` consecutive inputs of a row, the ``n`` highest scores are kept ("2:4", "4:8").

    Raises:
        ValueError: unless 0 < n < m.
    """

    def __init__(self, n: int, m: int) -> None:
        if not 0 < n < m:
            raise ValueError(f"pattern: N:M keeps N of every M inputs, so 0 < N < M; got {n}:{m}")
        self.n, self.m = n, m

    @classmethod
    def parse(cls, text: str) -> "NOfM":
        """From text such as "2:4"."""
        found = re.fullmatch(r"(\d+):(\d+)", text)
        if not found:
            raise ValueError(f"pattern: expected 'unstructured' or N:M such as '2:4', got {text!r}")
        return cls(int(found[1]), int(found[2]))

    @property
    def sparsity(self) -> float:
        return 1 - self.n / self.m

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        if score.shape[-1] % self.m:
            raise ValueError(f"pattern: {self.n}:{self.m} does not divide a row of {score.shape[-1]} inputs")
        groups = rearrange(score, "out (group m) -> out group m", m=self.m)
        return rearrange(~lowest(groups, self.m - self.n), "out group m -> out (group m)")
