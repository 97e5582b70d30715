"""The calibration pool of a rule with several parts, which are weighed once all samples have passed a block."""

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

# Number of rows of the block's largest Linear on which weights are tried; other Linears use the same share of rows.
_ROWS = 128


class PartedPool:
    """Like ``Pool``, for a rule with parts: each is gathered separately, and the result is their weighted mean."""

    def __init__(self, rule: PartedSelection, plan: PathwayPlan) -> None:
        self.rule, self.plan = rule, plan
        self._pools = [Pool(part, plan.needs_gram, plan.needs_moments) for part in rule.rules]

    def observe(self, sample: Sample) -> None:
        for pool in self._pools:
            pool.observe(sample)

    def finish(
        self, statistics: SetStatistics, halves: Sequence[Mapping[str, Tensor]], weights: Mapping[str, Tensor]
    ) -> BlockPool:
        """Returns what was gathered, and empties the pools for the next block.

        Args:
            statistics: statistics of the block.
            halves: for each half of the samples, mean squared inputs by modality and site (2, in), text first.
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
                raise ContractError(f"selection: {kind}.weigh returned {each} for {name}; expected weights for {parts}")
        return {name: chosen[name] for name in targets}


class HeldOut:
    """Loss of a block's Linears on the half of the samples on which their mask was not chosen.

    Masks are Wanda's under the run's pattern and sparsities, for evenly spaced rows, or for all rows if the pattern
    prunes rows together. The loss is estimated from norms, as if channels were uncorrelated.
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
        """Returns the share of squared outputs lost on text and on visual tokens, mean over the Linears.

        Visual tokens have the weight ``visual``, text tokens the weight 1.
        """
        norms = {name: (text + visual * picture).sqrt().float() for name, (text, picture) in self._first.items()}
        scores = {name: Wanda().score(rows, PoolStatistics(norms[name])) for name, rows in self._rows.items()}
        masks = self.plan.pattern.masks(scores, self.plan.sparsities)
        lost = torch.zeros(2, dtype=torch.float64)
        for name, rows in self._rows.items():
            pools = (PoolStatistics(squares.sqrt().float()) for squares in self._second[name])
            lost += torch.tensor([pool.share_lost(rows, rows * masks[name]) for pool in pools])
        text, picture = (lost / len(self._rows)).tolist()
        return text, picture
