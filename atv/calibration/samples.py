"""An arrived batch taken apart into samples, padding left behind: their tokens, and what those bring to each site.

A site is a place where one or several targets read the same tensor.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from atv.calibration.block_gradients import BlockGradients
from atv.calibration.calibration_set import BatchTokens
from atv.calibration.suspension import Arrival
from atv.calibration.target_inputs import RoutedInputs
from atv.model.experts import LAST, FusedExperts
from atv.selection import Tokens, WholeSet


class SiteInputs(ABC):
    """The inputs of one sample (n tokens) at a site: ``values``, a row each."""

    values: Tensor

    @cached_property
    def _squares(self) -> Tensor:
        return self.values.float().square()

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

    def square_sums(self, weights: Tensor) -> Tensor:
        return weights.float() @ self._squares

    def moment_sums(self, weights: Tensor) -> Tensor:
        """Sums of inputs and of their squares, weighted by token: weights (n,) -> float64 (2, in).

        Rounding of float32 sums would outweigh the variance of a channel that hardly varies.
        """
        values, weights = self.values.double(), weights.double()
        return torch.stack([weights @ values, weights @ values.square()])

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
        norms = [self.layer.project(LAST, x, expert).float().norm(dim=1) for expert, x in enumerate(rows)]
        by_row = weights.float()[self.token, None]
        return self._by_expert(torch.cat([by_row * (torch.cat(norms) * self.gate.float())[:, None], by_row], dim=1))

    def _by_expert(self, rows: Tensor) -> Tensor:
        # Rows are in order of experts, so this is exact for any device; scattered additions would not be.
        lengths = torch.bincount(self.expert, minlength=self.experts)
        return torch.segment_reduce(rows, "sum", lengths=lengths, axis=0)


@dataclass(frozen=True)
class Sample:
    """One sample at one block: its tokens, what they bring to each site, and the site of each target.

    By Linear, where it was asked for: ``outputs``, what the dense one makes of the tokens (n, out); ``gradients``, how
    the norm of the block's output moves with that (n, out); ``sensitivity``, of each token (n,).
    """

    tokens: Tokens
    inputs: dict[str, SiteInputs]
    site_of: dict[str, str]
    outputs: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    sensitivity: dict[str, Tensor] = field(default_factory=dict)

    def at(self, linear: str) -> Tokens:
        """The tokens as a rule sees them that is asked for every Linear by itself."""
        moved = self.sensitivity.get(linear)
        return replace(self.tokens, linear=linear, dense_output=self.outputs[linear], output_sensitivity=moved)


def samples(
    arrival: Arrival,
    batch: BatchTokens,
    seed: int,
    gradients: BlockGradients | None = None,
    whole: WholeSet | None = None,
) -> Iterator[Sample]:
    """The samples of a batch that arrived at a block, with what backward passes found there, and with the whole set.

    Raises:
        ValueError: for activations that are not finite, naming block and sample.
    """
    read, observed, gradients = arrival.target_inputs, arrival.observed, gradients or BlockGradients()
    for row in range(len(batch.valid)):
        keep = batch.valid[row]
        # A row without padding is read where it lies.
        unpadded = slice(None) if bool(keep.all()) else keep
        tokens = Tokens(
            visual=batch.visual[row][unpadded],
            position=torch.arange(int(keep.sum()), device=keep.device),
            input=arrival.input[row][unpadded],
            output=arrival.output[row][unpadded],
            sample=batch.first_sample + row,
            block=arrival.block,
            seed=seed,
            last_attention=observed.attention.last_query(row, keep)[unpadded] if observed.attention else None,
            ids=batch.ids[row][unpadded],
            labelled=None if batch.answer is None else batch.answer[row][unpadded],
            calibration_set=whole,
        )
        for name, values in (("input", tokens.input), ("output", tokens.output)):
            if not _finite(values):
                where = f"block {arrival.block}, sample {tokens.sample}"
                raise ValueError(f"calibration: the {name} of {where} holds NaN or infinite activations")
        sites, outputs, of_norm = (
            {name: x.reshape(*batch.valid.shape, x.shape[-1])[row][unpadded] for name, x in by_name.items()}
            for by_name in (read.sites, observed.outputs, gradients.of_norm)
        )
        inputs: dict[str, SiteInputs] = {site: LinearInputs(x) for site, x in sites.items()}
        inputs |= {site: _routed(x, batch.valid, row) for site, x in read.routed.items()}
        sensitivity = {name: moved[row][unpadded] for name, moved in gradients.sensitivity.items()}
        yield Sample(tokens, inputs, read.site_of, outputs, of_norm, sensitivity)


def _routed(inputs: RoutedInputs, valid: Tensor, row: int) -> ExpertInputs:
    """What the experts read of the sample in one row of the batch."""
    length = valid.shape[1]
    place = valid[row].cumsum(0) - 1
    flat = inputs.routing.token
    kept = (flat // length == row) & valid.flatten()[flat]
    return ExpertInputs(
        values=inputs.values[inputs.row[kept]],
        token=place[flat[kept] % length],
        expert=inputs.routing.expert[kept],
        tokens=int(valid[row].sum()),
        experts=inputs.layer.count,
        gate=None if inputs.routing.gate is None else inputs.routing.gate[kept],
        layer=inputs.layer,
    )


def _finite(values: Tensor) -> bool:
    """Whether all are; their sum tells at a fraction of the cost, unless finite values overflow it."""
    return bool(values.sum(dtype=torch.float32).isfinite()) or bool(values.isfinite().all())
