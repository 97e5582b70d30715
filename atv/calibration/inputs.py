"""What the tokens of one sample bring to a site, a place where one or several targets read the same tensor."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


class SiteInputs(ABC):
    """The inputs of one sample (n tokens) at a site."""

    @abstractmethod
    def square_sums(self, weights: Tensor) -> Tensor:
        """Sums of squared inputs, weighted by token: weights (k, n) -> float32 (k, in); experts: (k, experts, in)."""

    @abstractmethod
    def of(self, tokens: Tensor) -> "SiteInputs":
        """The inputs of some tokens, int64 (k,), which are from then on called 0 to k - 1."""


@dataclass(frozen=True)
class LinearInputs(SiteInputs):
    """What Linears read: ``values`` (n, in), one row a token."""

    values: Tensor

    @cached_property
    def _squares(self) -> Tensor:
        return self.values.float().square()

    def square_sums(self, weights: Tensor) -> Tensor:
        return weights.float() @ self._squares

    def of(self, tokens: Tensor) -> "LinearInputs":
        return LinearInputs(self.values[tokens])


@dataclass(frozen=True)
class ExpertInputs(SiteInputs):
    """What a layer of experts reads: ``values`` (rows, in), a row for each token that was routed to an expert.

    ``token`` and ``expert`` are int64 (rows,), the latter ascending; of the sample's ``tokens`` and the layer's
    ``experts``, some may have no row.
    """

    values: Tensor
    token: Tensor
    expert: Tensor
    tokens: int
    experts: int

    def square_sums(self, weights: Tensor) -> Tensor:
        return torch.stack([self._by_expert(self._squares * row[self.token, None]) for row in weights.float()])

    def counts(self, weights: Tensor) -> Tensor:
        """How many tokens of weight other than zero each expert was given: weights (n,) -> int64 (experts,)."""
        return torch.bincount(self.expert[(weights != 0)[self.token]], minlength=self.experts)

    def of(self, tokens: Tensor) -> "ExpertInputs":
        place = self.token.new_full((self.tokens,), -1)
        place[tokens] = torch.arange(len(tokens), device=tokens.device)
        token = place[self.token]
        kept = token >= 0
        return ExpertInputs(self.values[kept], token[kept], self.expert[kept], len(tokens), self.experts)

    @cached_property
    def _squares(self) -> Tensor:
        return self.values.float().square()

    def _by_expert(self, rows: Tensor) -> Tensor:
        # Rows are in order of experts, so this is exact for any device; scattered additions would not be.
        lengths = torch.bincount(self.expert, minlength=self.experts)
        return torch.segment_reduce(rows, "sum", lengths=lengths, axis=0)
