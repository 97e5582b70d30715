"""An arrived batch taken apart into its samples, padding left behind."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from atv.calibration.suspension import Arrival
from atv.selection import Tokens


@dataclass
class Sample:
    """One sample at one block: its tokens, and the inputs of the block's Linears at each site (n, in)."""

    tokens: Tokens
    inputs: dict[str, Tensor]
    site_of: dict[str, str]
    _squares: dict[str, Tensor] = field(default_factory=dict)

    def square_sums(self, site: str, weights: Tensor) -> Tensor:
        """Weighted sums of squared inputs: weights (k, n) -> float32 (k, in)."""
        if site not in self._squares:
            self._squares[site] = self.inputs[site].float().square()
        return weights.float() @ self._squares[site]


def samples(arrival: Arrival, visual: Tensor, valid: Tensor, first_sample: int, seed: int) -> Iterator[Sample]:
    """The samples of a batch; ``visual`` and ``valid`` are bool (batch, length).

    Raises:
        ValueError: for activations that are not finite, naming block and sample.
    """
    for row in range(len(valid)):
        keep = valid[row]
        # A row without padding is read where it lies.
        own = slice(None) if bool(keep.all()) else keep
        tokens = Tokens(
            visual=visual[row][own],
            position=torch.arange(int(keep.sum()), device=keep.device),
            input=arrival.input[row][own],
            output=arrival.output[row][own],
            sample=first_sample + row,
            block=arrival.block,
            seed=seed,
        )
        for name, values in (("input", tokens.input), ("output", tokens.output)):
            if not values.isfinite().all():
                where = f"block {arrival.block}, sample {first_sample + row}"
                raise ValueError(f"calibration: the {name} of {where} holds NaN or infinite activations")
        yield Sample(tokens, {site: x[row][own] for site, x in arrival.sites.items()}, arrival.site_of)
