"""The calibration pool of one selection rule, block by block."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from atv.calibration.fallback import experts_seen, with_fallback
from atv.calibration.inputs import ExpertInputs, SiteInputs
from atv.calibration.samples import Sample
from atv.calibration.sums import SampleSums
from atv.criteria import PoolStatistics
from atv.experts import LAST, expert_name
from atv.selection import SetStatistics, TokenSelection


@dataclass
class _Undecided:
    """Raw inputs, in the model's dtype, of one sample's candidates at each site, best first."""

    candidates: Tensor
    n_text: int
    inputs: dict[str, SiteInputs]


@dataclass(frozen=True)
class BlockPool:
    """The pool of a block: statistics by site, tokens by modality, and what each layer of experts saw.

    A site is a Linear's, or one expert's at one parameter.
    """

    statistics: dict[str, PoolStatistics]
    text: int
    visual: int
    experts: dict[str, dict[str, list[int]]]


class Pool:
    """Gathers the squared inputs of the tokens that ``selection`` picks from each sample of a block."""

    def __init__(self, selection: TokenSelection) -> None:
        self.selection = selection
        self._clear()

    def _clear(self) -> None:
        self._sums = SampleSums()
        self._counts = SampleSums()
        self._routed = SampleSums()
        self._undecided: dict[int, _Undecided] = {}

    def observe(self, sample: Sample) -> None:
        """Adds the tokens that enter at once and keeps the inputs of those that are still undecided."""
        tokens = sample.tokens
        chosen = self.selection.select(tokens)
        self._check(chosen, len(tokens.visual))
        self._add(tokens.sample, sample.inputs, chosen)
        self._count(tokens.sample, chosen, tokens.visual)
        candidates = self.selection.candidates(tokens)
        if len(candidates):
            kept = {site: inputs.of(candidates) for site, inputs in sample.inputs.items()}
            self._undecided[tokens.sample] = _Undecided(candidates, tokens.n_text, kept)

    def finish(self, statistics: SetStatistics) -> BlockPool:
        """What was gathered, and an empty pool for the next block.

        Raises:
            ValueError: when the rule picked no token of any sample.
        """
        for sample, kept in self._undecided.items():
            weights = self.selection.decide(kept.candidates, kept.n_text, statistics)
            self._check(weights, len(kept.candidates))
            self._add(sample, kept.inputs, weights)
            self._count(sample, weights, torch.ones_like(weights, dtype=torch.bool))
        text, visual = (int(count) for count in self._counts.totals()["tokens"])
        if not text + visual:
            raise ValueError(f"selection: {type(self.selection).__name__} picked no token of any calibration sample")
        experts = self._routed.totals()
        pools: dict[str, PoolStatistics] = {}
        for site, sums in self._sums.totals().items():
            mean = sums / statistics.samples
            if site in experts:
                by_expert = with_fallback(mean, experts[site], common=not site.endswith(LAST))
                pools.update({expert_name(site, e): _statistics(own) for e, own in enumerate(by_expert)})
            else:
                pools[site] = _statistics(mean)
        self._clear()
        layers = {site.rpartition(".")[0]: experts_seen(tokens) for site, tokens in experts.items()}
        return BlockPool(pools, text, visual, layers)

    def _add(self, sample: int, inputs: Mapping[str, SiteInputs], weights: Tensor) -> None:
        for site, values in inputs.items():
            self._sums.add(site, sample, values.square_sums(weights[None])[0])
            if isinstance(values, ExpertInputs):
                self._routed.add(site, sample, values.counts(weights))

    def _count(self, sample: int, weights: Tensor, visual: Tensor) -> None:
        entered = weights != 0
        self._counts.add("tokens", sample, torch.stack([(entered & ~visual).sum(), (entered & visual).sum()]))

    def _check(self, weights: Tensor, length: int) -> None:
        if weights.shape != (length,):
            rule = type(self.selection).__name__
            raise ValueError(f"selection: {rule} gave weights of shape {tuple(weights.shape)} for {length} tokens")
        if weights.is_floating_point() and not (weights.isfinite().all() and (weights >= 0).all()):
            raise ValueError(f"selection: {type(self.selection).__name__} gave weights that are negative or not finite")


def _statistics(mean_squares: Tensor) -> PoolStatistics:
    return PoolStatistics(mean_squares.sqrt().float())
