"""An arrived batch taken apart into its samples, padding left behind."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from atv.calibration.inputs import ExpertInputs, LinearInputs, SiteInputs
from atv.calibration.recording import RoutedInputs
from atv.calibration.suspension import Arrival
from atv.selection import Tokens, WholeSet


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
    visual: Tensor,
    valid: Tensor,
    first_sample: int,
    seed: int,
    ids: Tensor | None = None,
    answer: Tensor | None = None,
    whole: WholeSet | None = None,
) -> Iterator[Sample]:
    """The samples of a batch; ``visual`` and ``valid`` are bool (batch, length), ``ids`` and ``answer`` likewise.

    Raises:
        ValueError: for activations that are not finite, naming block and sample.
    """
    noted, recorded = arrival.recording, arrival.recorded
    for row in range(len(valid)):
        keep = valid[row]
        # A row without padding is read where it lies.
        unpadded = slice(None) if bool(keep.all()) else keep
        tokens = Tokens(
            visual=visual[row][unpadded],
            position=torch.arange(int(keep.sum()), device=keep.device),
            input=arrival.input[row][unpadded],
            output=arrival.output[row][unpadded],
            sample=first_sample + row,
            block=arrival.block,
            seed=seed,
            last_attention=recorded.attention.last_query(row, keep)[unpadded] if recorded.attention else None,
            ids=None if ids is None else ids[row][unpadded],
            labelled=None if answer is None else answer[row][unpadded],
            calibration_set=whole,
        )
        for name, values in (("input", tokens.input), ("output", tokens.output)):
            if not _finite(values):
                where = f"block {arrival.block}, sample {first_sample + row}"
                raise ValueError(f"calibration: the {name} of {where} holds NaN or infinite activations")
        sites, outputs, gradients = (
            {name: x.reshape(*valid.shape, x.shape[-1])[row][unpadded] for name, x in by_name.items()}
            for by_name in (noted.sites, recorded.outputs, recorded.gradients)
        )
        inputs: dict[str, SiteInputs] = {site: LinearInputs(x) for site, x in sites.items()}
        inputs |= {site: _routed(x, valid, row) for site, x in noted.routed.items()}
        sensitivity = {name: moved[row][unpadded] for name, moved in recorded.sensitivity.items()}
        yield Sample(tokens, inputs, noted.site_of, outputs, gradients, sensitivity)


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
