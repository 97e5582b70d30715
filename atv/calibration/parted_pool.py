"""The calibration pool of a rule of several parts, which are weighed once a block was seen by all samples."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from atv.calibration.pathway_plan import PathwayPlan
from atv.calibration.pool import BlockPool, Pool
from atv.calibration.samples import Sample
from atv.calibration.unchanged_inputs import unchanged
from atv.criteria import PoolStatistics, Wanda
from atv.patterns.structured import Structured
from atv.plugins import ContractError
from atv.selection import ObservedBlock, PartedSelection, SetStatistics

# Rows of the block's largest Linear that weights are tried on; of the others it is the same share.
_ROWS = 128


class PartedPool:
    """As ``Pool``, for the parts of a rule: each is gathered by itself, and the result is their weighted mean."""

    def __init__(self, rule: PartedSelection, plan: PathwayPlan) -> None:
        self.rule, self.plan = rule, plan
        self._pools = [Pool(part, plan.needs_gram, plan.needs_moments) for part in rule.rules]

    def observe(self, sample: Sample) -> None:
        for pool in self._pools:
            pool.observe(sample)

    def finish(
        self, statistics: SetStatistics, halves: Sequence[Mapping[str, Tensor]], weights: Mapping[str, Tensor]
    ) -> BlockPool:
        """What was gathered, and empty pools for the next block.

        Args:
            statistics: of the block.
            halves: mean squared inputs by modality over either half of the samples, by site (2, in), text first.
            weights: the dense weights of the block's targets.
        """
        pools = [pool.finish(statistics) for pool in self._pools]
        called = {name: weight for name, weight in weights.items() if name in pools[0].site_of}
        if not called:
            return BlockPool({}, 0, 0, {})
        trial = HeldOut(self.plan, halves, pools[0].site_of, called)
        block = ObservedBlock(tuple(called), statistics, trial.lost, self.plan.measured)
        with unchanged(self.rule, "weigh", block=block):
            weighed = self.rule.weigh(block)
        chosen = self._checked(weighed, called)
        mixed = {
            name: PoolStatistics.mixed([pool.statistics[name] for pool in pools], each) for name, each in chosen.items()
        }
        means = [round(sum(each) / len(chosen), 9) for each in zip(*chosen.values(), strict=True)]
        entered = [pool for pool, mean in zip(pools, means, strict=True) if mean > 0]
        text, visual = (sum(getattr(pool, kind) for pool in entered) for kind in ("text", "visual"))
        return BlockPool(mixed, text, visual, {}, pools[0].site_of, dict(zip(self.rule.parts, means, strict=True)))

    def _checked(
        self, chosen: Mapping[str, tuple[float, ...]], targets: Mapping[str, Tensor]
    ) -> dict[str, tuple[float, ...]]:
        for name in targets:
            each = chosen.get(name, ())
            if len(each) != len(self.rule.parts) or not all(math.isfinite(w) and w >= 0 for w in each) or not sum(each):
                kind, parts = type(self.rule).__name__, ", ".join(self.rule.parts)
                raise ContractError(f"selection: {kind}.weigh gave {each} for {name}; expected weights of {parts}")
        return {name: chosen[name] for name in targets}


class HeldOut:
    """What the Linears of a block lose on the half of the samples that their mask was not chosen on.

    Masks are Wanda's under the run's pattern and sparsities, of evenly spaced rows, or of all where rows go together;
    what is lost is told by norms, as if channels were uncorrelated.
    """

    def __init__(
        self,
        plan: PathwayPlan,
        halves: Sequence[Mapping[str, Tensor]],
        site_of: Mapping[str, str],
        weights: Mapping[str, Tensor],
    ) -> None:
        self.plan = plan
        most = max(len(weight) for weight in weights.values())
        step = 1 if isinstance(plan.pattern, Structured) else max(most // _ROWS, 1)
        self._rows = {name: weight[::step] for name, weight in weights.items()}
        self._first, self._second = ({name: half[site_of[name]] for name in weights} for half in halves)

    def lost(self, visual: float) -> tuple[float, float]:
        """The share of squared outputs lost on text and on visual tokens, mean over the Linears, where visual tokens
        weigh so much and text tokens 1."""
        norms = {name: (text + visual * picture).sqrt().float() for name, (text, picture) in self._first.items()}
        scores = {name: Wanda().score(rows, PoolStatistics(norms[name])) for name, rows in self._rows.items()}
        masks = self.plan.pattern.masks(scores, self.plan.sparsities)
        lost = torch.zeros(2, dtype=torch.float64)
        for name, rows in self._rows.items():
            pools = (PoolStatistics(squares.sqrt().float()) for squares in self._second[name])
            lost += torch.tensor([pool.share_lost(rows, rows * masks[name]) for pool in pools])
        text, picture = (lost / len(self._rows)).tolist()
        return text, picture
