"""What the tokens of one sample bring to a site, a place where one or several targets read the same tensor."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from atv.model.experts import FusedExperts


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
    ``experts``, some may have no row. ``gate`` (rows,) is what the ``layer`` multiplies an expert's output by.
    """

    values: Tensor
    token: Tensor
    expert: Tensor
    tokens: int
    experts: int
    gate: Tensor | None = None
    layer: FusedExperts | None = None

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
        gate = None if self.gate is None else self.gate[kept]
        inputs = self.values[kept], token[kept], self.expert[kept], len(tokens), self.experts
        return ExpertInputs(*inputs, gate, self.layer)

    def saliency_sums(self, weights: Tensor) -> Tensor:
        """Of what the last projections of experts read: sums of gate * ||output||, and of the weights alone.

        Weights (n,) -> float32 (experts, 2).
        """
        assert self.layer is not None and self.gate is not None
        rows = self.values.split(torch.bincount(self.expert, minlength=self.experts).tolist())
        norms = [self.layer.last(x, expert).float().norm(dim=1) for expert, x in enumerate(rows)]
        by_row = weights.float()[self.token, None]
        return self._by_expert(torch.cat([by_row * (torch.cat(norms) * self.gate.float())[:, None], by_row], dim=1))

    @cached_property
    def _squares(self) -> Tensor:
        return self.values.float().square()

    def _by_expert(self, rows: Tensor) -> Tensor:
        # Rows are in order of experts, so this is exact for any device; scattered additions would not be.
        lengths = torch.bincount(self.expert, minlength=self.experts)
        return torch.segment_reduce(rows, "sum", lengths=lengths, axis=0)
