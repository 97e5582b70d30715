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
        target_weights = {name: weight for name, weight in weights.items() if name in pools[0].site_of}
        if not target_weights:
            return BlockPool({}, 0, 0, {})
        trial = HeldOut(self.plan, halves, pools[0].site_of, target_weights)
        block = ObservedBlock(tuple(target_weights), statistics, trial.shares_lost, self.plan.measured)
        with unchanged(self.rule, "weigh", block=block):
            weights_by_target = self.rule.weigh(block)
        checked_weights = self._checked_weights(weights_by_target, target_weights)
        statistics_by_target = {
            name: PoolStatistics.mixed([pool.statistics[name] for pool in pools], part_weights)
            for name, part_weights in checked_weights.items()
        }
        mean_weights = [
            round(sum(part_weights) / len(checked_weights), 9)
            for part_weights in zip(*checked_weights.values(), strict=True)
        ]
        used_pools = [pool for pool, mean_weight in zip(pools, mean_weights, strict=True) if mean_weight > 0]
        text, visual = (sum(getattr(pool, modality) for pool in used_pools) for modality in ("text", "visual"))
        return BlockPool(
            statistics_by_target,
            text,
            visual,
            {},
            pools[0].site_of,
            dict(zip(self.rule.parts, mean_weights, strict=True)),
        )

    def _checked_weights(
        self, weights_by_target: Mapping[str, tuple[float, ...]], targets: Mapping[str, Tensor]
    ) -> dict[str, tuple[float, ...]]:
        for name in targets:
            part_weights = weights_by_target.get(name, ())
            if (
                len(part_weights) != len(self.rule.parts)
                or not all(math.isfinite(weight) and weight >= 0 for weight in part_weights)
                or not sum(part_weights)
            ):
                class_name, parts = type(self.rule).__name__, ", ".join(self.rule.parts)
                raise ContractError(
                    f"selection: {class_name}.weigh returned {part_weights} for {name}; expected weights for {parts}"
                )
        return {name: weights_by_target[name] for name in targets}


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
        longest = max(len(weight) for weight in weights.values())
        step = 1 if isinstance(plan.pattern, Structured) else max(longest // _ROWS, 1)
        self._weight_rows = {name: weight[::step] for name, weight in weights.items()}
        self._choosing_half, self._judging_half = ({name: half[site_of[name]] for name in weights} for half in halves)

    def shares_lost(self, visual: float) -> tuple[float, float]:
        """Returns the share of squared outputs lost on text and on visual tokens, mean over the Linears.

        Visual tokens have the weight ``visual``, text tokens the weight 1.
        """
        norms = {
            name: (text + visual * picture).sqrt().float() for name, (text, picture) in self._choosing_half.items()
        }
        scores = {name: Wanda().score(rows, PoolStatistics(norms[name])) for name, rows in self._weight_rows.items()}
        masks = self.plan.pattern.masks(scores, self.plan.sparsities)
        shares_lost = torch.zeros(2, dtype=torch.float64)
        for name, rows in self._weight_rows.items():
            pools = (PoolStatistics(squares.sqrt().float()) for squares in self._judging_half[name])
            shares_lost += torch.tensor([pool.share_lost(rows, rows * masks[name]) for pool in pools])
        text, picture = (shares_lost / len(self._weight_rows)).tolist()
        return text, picture
