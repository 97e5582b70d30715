"""The calibration pool of one selection rule, block by block.

An expert to which too few of the pool's tokens were routed gets substitute statistics, unless experts compete.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from atv.calibration.checked_selection import decided, selected, undecided
from atv.calibration.samples import ExpertInputs, LinearInputs, Sample, SiteInputs
from atv.calibration.starved_experts import experts_seen, with_fallback
from atv.calibration.sums import MatrixSum, SampleSums, weighted_gram
from atv.criteria import PoolStatistics
from atv.model.experts import LAST, expert_name
from atv.runtime.ranks import gathered
from atv.selection import SetStatistics, Tokens, TokenSelection


@dataclass
class _Undecided:
    """Raw inputs by key, in the model's dtype, of one sample's undecided candidates, best first."""

    view: str
    sample: int
    candidates: Tensor
    n_text: int
    inputs: dict[str, SiteInputs]


@dataclass(frozen=True)
class BlockPool:
    """The pool of a block: statistics by target, token counts by modality, and the tokens of each layer's experts.

    If targets have separate pools, the token counts are means over them, rounded to the nearest integer. ``site_of`` is
    the key under which a target's statistics were gathered. ``weights`` are those of the parts of a rule that has
    several, averaged over targets.
    """

    statistics: dict[str, PoolStatistics]
    text: int
    visual: int
    experts: dict[str, dict[str, list[int]]]
    site_of: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)


class Pool:
    """Gathers what a criterion needs from the tokens that ``selection`` picks from each sample of a block.

    A rule looks at a sample once or, if it is ``per_linear``, once per Linear; each look is a *view*. Statistics are
    kept by *key*: a site that several targets share or, for a ``per_linear`` rule, a Linear. ``gram`` requests X^T X as
    well, ``moments`` the mean and variance of each channel, ``saliency`` what each expert contributes. ``compared``
    says that experts compete with one another: starved experts then get no substitute statistics, because those of all
    experts' tokens would beat each expert's own.
    """

    def __init__(
        self,
        selection: TokenSelection,
        gram: bool = False,
        moments: bool = False,
        saliency: bool = False,
        compared: bool = False,
    ) -> None:
        self.selection, self.gram, self.moments, self.saliency = selection, gram, moments, saliency
        self.compared = compared
        self._clear()

    def _clear(self) -> None:
        # By view: the numbers of text and visual tokens, and the sum of the weights.
        self._counts = SampleSums()
        # By key; one row per expert where a key is a layer of experts.
        self._squares, self._moments = SampleSums(), SampleSums()
        self._routed, self._saliency = SampleSums(), SampleSums()
        self._grams: dict[str, MatrixSum] = defaultdict(MatrixSum)
        self._undecided: list[_Undecided] = []
        self._key_of: dict[str, str] = {}

    def observe(self, sample: Sample) -> None:
        """Adds the tokens that enter at once and keeps the inputs of those that are still undecided."""
        self._key_of |= {name: name if self.selection.per_linear else site for name, site in sample.site_of.items()}
        if not len(sample.tokens.visual):  # nothing but padding
            return
        for view, tokens, inputs in self._views(sample):
            chosen = selected(self.selection, tokens)
            self._add_inputs(tokens.sample, inputs, chosen)
            self._add_counts(view, tokens.sample, chosen, tokens.visual)
            candidates = undecided(self.selection, tokens, chosen)
            if len(candidates):
                candidate_inputs = {key: values.of(candidates) for key, values in inputs.items()}
                self._undecided.append(_Undecided(view, tokens.sample, candidates, tokens.n_text, candidate_inputs))

    def finish(self, statistics: SetStatistics) -> BlockPool:
        """Returns what was gathered, and empties the pool for the next block.

        Raises:
            ValueError: if the rule picked no token of any sample.
        """
        for waiting in self._undecided:
            weights = decided(self.selection, waiting.candidates, waiting.n_text, statistics)
            self._add_inputs(waiting.sample, waiting.inputs, weights)
            self._add_counts(waiting.view, waiting.sample, weights, torch.ones_like(weights, dtype=torch.bool))
        counts, routed = self._counts.totals(), self._routed.totals()
        if any(not weight for _, _, weight in counts.values()):
            raise ValueError(f"selection: {type(self.selection).__name__} picked no token of any calibration sample")
        by_target = self._statistics_by_key(counts, routed, statistics.samples)
        # Gathered, because a rank without samples has seen no target called.
        key_of = {name: key for by_name in gathered(self._key_of) for name, key in by_name.items()}
        # A ``per_linear`` rule has counted nothing in a block without Linears.
        pool_counts = torch.stack(list(counts.values())) if counts else torch.zeros(1, 3)
        text, visual, _ = (round(count) for count in pool_counts.mean(0).tolist())
        experts = {site.rpartition(".")[0]: experts_seen(tokens) for site, tokens in routed.items()}
        self._clear()
        return BlockPool({name: by_target[key] for name, key in key_of.items()}, text, visual, experts, key_of)

    def _statistics_by_key(
        self, counts: Mapping[str, Tensor], routed: Mapping[str, Tensor], samples: int
    ) -> dict[str, PoolStatistics]:
        """Returns statistics by key, and those of experts by name."""
        by_key: dict[str, PoolStatistics] = {}
        moments, saliency = self._moments.totals(), self._saliency.totals()
        for key, squares in self._squares.totals().items():
            _, _, weight = counts[key if self.selection.per_linear else ""].tolist()
            mean_squares = squares / (weight if self.selection.average == "tokens" else samples)
            if key in routed:
                by_key |= self._expert_statistics(key, mean_squares, routed[key], saliency.get(key))
            else:
                by_key[key] = self._linear_statistics(key, mean_squares, weight, moments.get(key))
        return by_key

    def _linear_statistics(
        self, key: str, mean_squares: Tensor, weight: float, moments: Tensor | None
    ) -> PoolStatistics:
        """Statistics of a key's Linears, from mean squares (in,) and sums of values and of their squares (2, in)."""
        channels = len(mean_squares)
        gram = self._grams[key].total(channels, channels) / weight if self.gram else None
        mean, variance = (None, None) if moments is None else _mean_and_variance(moments / weight)
        return PoolStatistics(mean_squares.sqrt().float(), gram, mean, variance)

    def _expert_statistics(
        self, site: str, mean_squares: Tensor, tokens: Tensor, saliency: Tensor | None
    ) -> dict[str, PoolStatistics]:
        """Statistics of each expert of a layer, by name.

        Args:
            mean_squares: mean squared inputs by expert (experts, in).
            tokens: number of the pool's tokens by expert (experts,).
            saliency: sums of saliency and of weights by expert (experts, 2), if they were gathered.
        """
        if not self.compared:
            mean_squares = with_fallback(mean_squares, tokens, common=not site.endswith(LAST))
        saliencies = [None] * len(tokens) if saliency is None else _means_by_expert(saliency)
        return {
            expert_name(site, expert): PoolStatistics(squares.sqrt().float(), saliency=mean_saliency)
            for expert, (squares, mean_saliency) in enumerate(zip(mean_squares, saliencies, strict=True))
        }

    def _views(self, sample: Sample) -> Iterator[tuple[str, Tokens, Mapping[str, SiteInputs]]]:
        """Yields (view, tokens as the rule sees them, inputs by key)."""
        if not self.selection.per_linear:
            yield "", sample.tokens, sample.inputs
            return
        for name, site in sample.site_of.items():
            yield name, sample.at(name), {name: sample.inputs[site]}

    def _add_inputs(self, sample: int, inputs: Mapping[str, SiteInputs], weights: Tensor) -> None:
        for key, values in inputs.items():
            self._squares.add(key, sample, values.square_sums(weights[None])[0])
            if isinstance(values, ExpertInputs):
                self._routed.add(key, sample, values.counts(weights))
                if self.saliency and key.endswith(LAST):
                    self._saliency.add(key, sample, values.saliency_sums(weights))
            elif isinstance(values, LinearInputs):
                if self.gram:
                    self._grams[key].add(weighted_gram(values.values, weights))
                if self.moments:
                    self._moments.add(key, sample, values.moment_sums(weights))

    def _add_counts(self, view: str, sample: int, weights: Tensor, visual: Tensor) -> None:
        """Adds the numbers of text and visual tokens, and the sum of the weights."""
        is_chosen = weights != 0
        counts = [(is_chosen & ~visual).sum(), (is_chosen & visual).sum(), weights.double().sum()]
        self._counts.add(view, sample, torch.stack([count.double() for count in counts]))


def _mean_and_variance(means: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance (in,) from the means of values and of their squares (2, in)."""
    mean, mean_square = means.unbind()
    return mean, (mean_square - mean.square()).clamp(min=0)


def _means_by_expert(sums: Tensor) -> list[float]:
    """Means by expert, from sums and weights (experts, 2); 0 for an expert without weight."""
    return torch.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1].clamp(min=1e-30), 0.0).tolist()
