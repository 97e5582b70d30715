"""Prunes a block once all samples have passed it in the prediction loop: masks and weights, pathway by pathway."""

from collections.abc import Callable, Mapping
from time import perf_counter

import lightning as L
from torch import Tensor

from atv.calibration.block_training import WaitingBlock, trained
from atv.calibration.callbacks import ActivationNorms, BlockCallback, Drift, RegionalGradients
from atv.calibration.loop import BlockwiseCalibration
from atv.calibration.parted_pool import PartedPool
from atv.calibration.pathway_plan import PathwayPlan
from atv.calibration.pool import BlockPool, Pool
from atv.calibration.pruned_block import pack_block
from atv.calibration.samples import Sample
from atv.calibration.starved_experts import warn_of_starved
from atv.calibration.step_log import StepLog
from atv.criteria import Pruned
from atv.model.lvlm import LVLM
from atv.model.targets import Target
from atv.records.digests import tensors_digest
from atv.records.pruning_report import BlockReport
from atv.records.run_folder import FinishedBlock
from atv.refinement import BlockReconstruction
from atv.runtime.ranks import agree
from atv.selection import PartedSelection


class Pruning(BlockCallback):
    """Makes each pathway's masks once all samples have passed a block.

    ``finished`` receives the block's result before the next block is reached.
    """

    def __init__(
        self,
        lvlm: LVLM,
        targets: Mapping[str, Target],
        plans: Mapping[str, PathwayPlan],
        finished: Callable[[FinishedBlock], None],
        drift: Drift,
        norms: ActivationNorms,
        gradients: RegionalGradients,
        loop: BlockwiseCalibration,
    ) -> None:
        self.plans, self.finished, self.loop = plans, finished, loop
        self._targets_by_block = lvlm.by_block(targets)
        self.drift, self.norms, self.gradients = drift, norms, gradients
        self._pools = {pathway: _new_pool(plan) for pathway, plan in plans.items()}
        self._started = perf_counter()

    def observe(self, sample: Sample) -> None:
        for pool in self._pools.values():
            pool.observe(sample)

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = perf_counter()

    def finish(self, block: int) -> None:
        dense = {name: target.weight.detach() for name, target in self._targets_by_block[block].items()}
        pools: dict[str, BlockPool] = {}
        pruned: dict[str, Mapping[str, Pruned]] = {}
        logs = {pathway: StepLog() for pathway in self.plans}
        for pathway in self.plans:
            pools[pathway] = self._finished_pool(pathway, block, dense)
            pruned[pathway] = self._prune_pathway(pathway, block, dense, pools[pathway], logs[pathway])
        finished_block = pack_block(self._block_report(block, pools, logs), pruned, dense)
        packed_masks = [masks.packed for masks in finished_block.masks.values()]
        agree(tensors_digest([*packed_masks, finished_block.weights]), f"masks of block {block}")
        for pathway, plan in self.plans.items():
            warn_of_starved(block, pools[pathway].experts, plan.pattern.joint)
        self.finished(finished_block)

    def _finished_pool(self, pathway: str, block: int, dense: Mapping[str, Tensor]) -> BlockPool:
        """Returns the finished calibration pool of a pathway."""
        pathway_pool, statistics = self._pools[pathway], self.drift.statistics
        if isinstance(pathway_pool, PartedPool):
            pool = pathway_pool.finish(statistics, self.norms.halves, dense)
        else:
            pool = pathway_pool.finish(statistics)
        if missing := dense.keys() - pool.statistics.keys():
            raise ValueError(f"targets: block {block} never calls {min(missing)}")
        return self.gradients.into(pool, self.plans[pathway].selection, statistics)

    def _prune_pathway(
        self, pathway: str, block: int, dense: Mapping[str, Tensor], pool: BlockPool, log: StepLog
    ) -> Mapping[str, Pruned]:
        """Prunes a block's targets on one pathway."""
        plan = self.plans[pathway]
        pruned = plan.prune(dense, pool.statistics, log)
        if pruned and isinstance(plan.reconstruct, BlockReconstruction):
            waiting = WaitingBlock(block, self.loop, self._targets_by_block[block])
            return trained(plan.reconstruct, waiting, dense, pruned, log)
        return pruned

    def _block_report(self, block: int, pools: Mapping[str, BlockPool], logs: Mapping[str, StepLog]) -> BlockReport:
        start_time, self._started = self._started, perf_counter()
        statistics = self.drift.statistics
        tokens = {"text": statistics.text_tokens, "visual": statistics.visual_tokens}
        return BlockReport(
            block=block,
            mean_drift=statistics.mean_drift,
            tokens=tokens,
            selected={name: {"text": pool.text, "visual": pool.visual} for name, pool in pools.items()},
            norms={
                modality: {site: _rms(norm, tokens[modality]) for site, norm in norm_by_site.items()}
                for modality, norm_by_site in self.norms.norms.items()
            },
            seconds=self._started - start_time,
            experts={name: pool.experts for name, pool in pools.items() if pool.experts},
            step_seconds={name: dict(log.seconds) for name, log in logs.items()},
            pool_weights={name: dict(pool.weights) for name, pool in pools.items() if pool.weights},
            step_errors={name: log.mean_errors() for name, log in logs.items() if log.errors},
        )


def _new_pool(plan: PathwayPlan) -> Pool | PartedPool:
    if isinstance(plan.selection, PartedSelection):
        return PartedPool(plan.selection, plan)
    saliency, joint = plan.criterion.needs_saliency, plan.pattern.joint
    return Pool(plan.selection, plan.needs_gram, plan.needs_moments, saliency, compared=joint)


def _rms(norm: Tensor, tokens: int) -> float:
    """Root mean square activation of a site over channels and tokens, from its channel norms."""
    return float((norm.square().mean() / max(tokens, 1)).sqrt())
