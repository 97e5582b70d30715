"""The calibration pool of one selection rule, block by block."""

from dataclasses import dataclass

import torch
from torch import Tensor

from atv.calibration.samples import Sample
from atv.calibration.sums import SampleSums
from atv.criteria import PoolStatistics
from atv.selection import SetStatistics, TokenSelection


@dataclass
class _Undecided:
    """Raw inputs, in the model's dtype, of one sample's candidates at each site: (k, in), best first."""

    candidates: Tensor
    n_text: int
    inputs: dict[str, Tensor]


class Pool:
    """Gathers the squared inputs of the tokens that ``selection`` picks from each sample of a block."""

    def __init__(self, selection: TokenSelection) -> None:
        self.selection = selection
        self._sums = SampleSums()
        self._counts = SampleSums()
        self._undecided: dict[int, _Undecided] = {}

    def observe(self, sample: Sample) -> None:
        """Adds the tokens that enter at once and keeps the inputs of those that are still undecided."""
        tokens = sample.tokens
        chosen = self.selection.select(tokens)
        self._check(chosen, len(tokens.visual))
        for site in sample.inputs:
            self._sums.add(site, tokens.sample, sample.square_sums(site, chosen[None])[0])
        self._count(tokens.sample, chosen, tokens.visual)
        candidates = self.selection.candidates(tokens)
        if len(candidates):
            kept = {site: inputs[candidates] for site, inputs in sample.inputs.items()}
            self._undecided[tokens.sample] = _Undecided(candidates, tokens.n_text, kept)

    def finish(self, statistics: SetStatistics) -> tuple[dict[str, PoolStatistics], int, int]:
        """(statistics by site, text tokens, visual tokens in the pool), and an empty pool for the next block.

        Raises:
            ValueError: when the rule picked no token of any sample.
        """
        for sample, kept in self._undecided.items():
            weights = self.selection.decide(kept.candidates, kept.n_text, statistics)
            self._check(weights, len(kept.candidates))
            for site, inputs in kept.inputs.items():
                self._sums.add(site, sample, weights.float() @ inputs.float().square())
            self._count(sample, weights, torch.ones_like(weights, dtype=torch.bool))
        text, visual = (int(count) for count in self._counts.totals()["tokens"])
        if not text + visual:
            raise ValueError(f"selection: {type(self.selection).__name__} picked no token of any calibration sample")
        pools = {
            site: PoolStatistics((total / statistics.samples).sqrt().float())
            for site, total in self._sums.totals().items()
        }
        self._sums, self._counts, self._undecided = SampleSums(), SampleSums(), {}
        return pools, text, visual

    def _count(self, sample: int, weights: Tensor, visual: Tensor) -> None:
        entered = weights != 0
        self._counts.add("tokens", sample, torch.stack([(entered & ~visual).sum(), (entered & visual).sum()]))

    def _check(self, weights: Tensor, length: int) -> None:
        if weights.shape != (length,):
            rule = type(self.selection).__name__
            raise ValueError(f"selection: {rule} gave weights of shape {tuple(weights.shape)} for {length} tokens")
        if weights.is_floating_point() and not (weights.isfinite().all() and (weights >= 0).all()):
            raise ValueError(f"selection: {type(self.selection).__name__} gave weights that are negative or not finite")
