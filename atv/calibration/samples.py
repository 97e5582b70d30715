"""Splits a batch that arrived at a block into samples without padding: their tokens, and their inputs at each site.

A site is a place where one or more targets read the same tensor.
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
    """The inputs of one sample (n tokens) at a site, as rows of ``values``."""

    values: Tensor

    @cached_property
    def _squares(self) -> Tensor:
        return self.values.float().square()

    @abstractmethod
    def square_sums(self, weights: Tensor) -> Tensor:
        """Sums of squared inputs, weighted by token: weights (k, n) -> float32 (k, in), or (k, experts, in)."""

    @abstractmethod
    def of(self, tokens: Tensor) -> "SiteInputs":
        """Returns the inputs of the tokens with these indices, int64 (k,), renumbered from 0 to k - 1."""


@dataclass(frozen=True)
class LinearInputs(SiteInputs):
    """Inputs of Linears: ``values`` (n, in), one row per token."""

    values: Tensor

    def square_sums(self, weights: Tensor) -> Tensor:
        return weights.float() @ self._squares

    def moment_sums(self, weights: Tensor) -> Tensor:
        """Sums of inputs and of their squares, weighted by token: weights (n,) -> float64 (2, in).

        Float64, because the rounding of float32 sums would exceed the variance of a channel that hardly varies.
        """
        values, weights = self.values.double(), weights.double()
        return torch.stack([weights @ values, weights @ values.square()])

    def of(self, tokens: Tensor) -> "LinearInputs":
        return LinearInputs(self.values[tokens])


@dataclass(frozen=True)
class ExpertInputs(SiteInputs):
    """Inputs of a layer of experts: ``values`` (rows, in), one row for each token that was routed to an expert.

    ``token`` and ``expert`` are int64 (rows,), the latter ascending. Some of the sample's ``tokens`` and of the layer's
    ``experts`` may have no row. ``gate`` (rows,) is the factor that the ``layer`` applies to an expert's output.
    """

    values: Tensor
    token: Tensor
    expert: Tensor
    tokens: int
    experts: int
    gate: Tensor | None = None
    layer: FusedExperts | None = None

    def square_sums(self, weights: Tensor) -> Tensor:
        return torch.stack([self._sum_by_expert(self._squares * row[self.token, None]) for row in weights.float()])

    def counts(self, weights: Tensor) -> Tensor:
        """Number of tokens with nonzero weight that each expert received: weights (n,) -> int64 (experts,)."""
        return torch.bincount(self.expert[(weights != 0)[self.token]], minlength=self.experts)

    def of(self, tokens: Tensor) -> "ExpertInputs":
        new_index = self.token.new_full((self.tokens,), -1)
        new_index[tokens] = torch.arange(len(tokens), device=tokens.device)
        token = new_index[self.token]
        is_chosen = token >= 0
        gate = None if self.gate is None else self.gate[is_chosen]
        inputs = self.values[is_chosen], token[is_chosen], self.expert[is_chosen], len(tokens), self.experts
        return ExpertInputs(*inputs, gate, self.layer)

    def saliency_sums(self, weights: Tensor) -> Tensor:
        """Weighted sums of gate * ||output||, and sums of the weights; for inputs of the experts' last projections.

        Weights (n,) -> float32 (experts, 2).
        """
        assert self.layer is not None and self.gate is not None
        rows = self.values.split(torch.bincount(self.expert, minlength=self.experts).tolist())
        norms = [self.layer.project(LAST, inputs, expert).float().norm(dim=1) for expert, inputs in enumerate(rows)]
        row_weights = weights.float()[self.token, None]
        return self._sum_by_expert(
            torch.cat([row_weights * (torch.cat(norms) * self.gate.float())[:, None], row_weights], dim=1)
        )

    def _sum_by_expert(self, rows: Tensor) -> Tensor:
        # Rows are sorted by expert, so this is exact on any device; scattered additions would not be.
        lengths = torch.bincount(self.expert, minlength=self.experts)
        return torch.segment_reduce(rows, "sum", lengths=lengths, axis=0)


@dataclass(frozen=True)
class Sample:
    """One sample at one block: its tokens, their inputs at each site, and the site of each target.

    By Linear, if requested: ``outputs`` of the dense Linear for the tokens (n, out); ``gradients``, how the norm of the
    block's output changes with these (n, out); ``sensitivity`` to each token (n,).
    """

    tokens: Tokens
    inputs: dict[str, SiteInputs]
    site_of: dict[str, str]
    outputs: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    sensitivity: dict[str, Tensor] = field(default_factory=dict)

    def at(self, linear: str) -> Tokens:
        """Returns the tokens as a ``per_linear`` rule sees them at this Linear."""
        sensitivity = self.sensitivity.get(linear)
        return replace(self.tokens, linear=linear, dense_output=self.outputs[linear], output_sensitivity=sensitivity)


def samples(
    arrival: Arrival,
    batch: BatchTokens,
    seed: int,
    gradients: BlockGradients | None = None,
    calibration_set: WholeSet | None = None,
) -> Iterator[Sample]:
    """Yields the samples of a batch that arrived at a block, with its gradients there and the whole set.

    Raises:
        ValueError: if activations are not finite, naming the block and the sample.
    """
    target_inputs, observed, gradients = arrival.target_inputs, arrival.observed, gradients or BlockGradients()
    for row in range(len(batch.valid)):
        valid = batch.valid[row]
        # A row without padding is not copied.
        unpadded = slice(None) if bool(valid.all()) else valid
        tokens = Tokens(
            visual=batch.visual[row][unpadded],
            position=torch.arange(int(valid.sum()), device=valid.device),
            input=arrival.input[row][unpadded],
            output=arrival.output[row][unpadded],
            sample=batch.first_sample + row,
            block=arrival.block,
            seed=seed,
            last_attention=observed.attention.last_query(row, valid)[unpadded] if observed.attention else None,
            ids=batch.ids[row][unpadded],
            labelled=None if batch.answer is None else batch.answer[row][unpadded],
            calibration_set=calibration_set,
        )
        for name, values in (("input", tokens.input), ("output", tokens.output)):
            if not _all_finite(values):
                location = f"block {arrival.block}, sample {tokens.sample}"
                raise ValueError(f"calibration: the {name} of {location} contains NaN or infinite activations")
        sites, outputs, of_norm = (
            {
                name: site_values.reshape(*batch.valid.shape, site_values.shape[-1])[row][unpadded]
                for name, site_values in by_name.items()
            }
            for by_name in (target_inputs.sites, observed.outputs, gradients.of_norm)
        )
        inputs: dict[str, SiteInputs] = {site: LinearInputs(site_values) for site, site_values in sites.items()}
        inputs |= {
            site: _expert_inputs(site_values, batch.valid, row) for site, site_values in target_inputs.routed.items()
        }
        sensitivity = {
            name: sensitivity_values[row][unpadded] for name, sensitivity_values in gradients.sensitivity.items()
        }
        yield Sample(tokens, inputs, target_inputs.site_of, outputs, of_norm, sensitivity)


def _expert_inputs(inputs: RoutedInputs, valid: Tensor, row: int) -> ExpertInputs:
    """Returns the inputs of the experts for the sample in one row of the batch."""
    length = valid.shape[1]
    token_index = valid[row].cumsum(0) - 1
    flat_token = inputs.routing.token
    in_sample = (flat_token // length == row) & valid.flatten()[flat_token]
    return ExpertInputs(
        values=inputs.values[inputs.row[in_sample]],
        token=token_index[flat_token[in_sample] % length],
        expert=inputs.routing.expert[in_sample],
        tokens=int(valid[row].sum()),
        experts=inputs.layer.count,
        gate=None if inputs.routing.gate is None else inputs.routing.gate[in_sample],
        layer=inputs.layer,
    )


def _all_finite(values: Tensor) -> bool:
    """Whether all values are finite; their sum shows it at a fraction of the cost, unless finite values overflow it."""
    return bool(values.sum(dtype=torch.float32).isfinite()) or bool(values.isfinite().all())
