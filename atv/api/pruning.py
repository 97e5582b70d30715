"""Prunes a model in place, or decouples its text and visual pathways and prunes each separately."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from torch import nn
from transformers import PreTrainedModel

from atv.allocation import Allocation
from atv.calibration.pathway import Pathway
from atv.calibration.pruning_run import PruningJob, run
from atv.criteria import Criterion, Pruned
from atv.model.lvlm import LVLM
from atv.model.offload import is_offloaded
from atv.model.ordinary import require_ordinary
from atv.model.targets import Target
from atv.output.pruned_folder import output_bytes
from atv.pathways import DecoupledExperts, DecoupledLinear, decouple_target, route
from atv.patterns import Pattern
from atv.records.files import require_space, writable
from atv.records.pruning_report import BOTH, PruningReport
from atv.refinement import BlockReconstruction, Reconstruction, Refinement
from atv.runtime.trainer import require_calibrating
from atv.selection import TokenSelection


def prune(
    model: PreTrainedModel,
    batches: Iterable[Mapping[str, Any]],
    *,
    selection: TokenSelection | str = "DriftTopK",
    criterion: Criterion | str = "Wanda",
    pattern: Pattern | str = "unstructured",
    sparsity: float | None = None,
    allocation: Allocation | str = "Uniform",
    refine: Refinement | str | Sequence[Refinement | str] | None = None,
    reconstruct: Reconstruction | str | None = None,
    targets: Sequence[str] | str | None = None,
    propagate: bool = True,
    seed: int = 0,
    trainer: L.Trainer | None = None,
    run_dir: str | Path | None = None,
    calibration: Mapping[str, Any] | None = None,
) -> PruningReport:
    """Prunes an LVLM's language model in place, block by block; by default as ATV-Pruning does.

    Args:
        model: any transformers LVLM with a text decoder and an image token. An offloaded model (``atv.load``) leaves
            its pruned weights in shards in ``run_dir``.
        batches: dicts of tensors as its processor returns them with ``return_tensors="pt"``, each with one or several
            samples, padded or not, such as ``atv.calibration_batches`` makes. They are read once.
        selection: rule that selects the tokens of the calibration pool: an instance, a class name or a dotted path.
        criterion: rule that scores weights, specified likewise.
        pattern: "unstructured", "2:4", "4:8", an instance, a class name or a dotted path. N:M keeps N of every M inputs
            of a row. FFNChannels and AttentionHeads remove whole structures, so ``atv.save`` saves a smaller model.
        sparsity: fraction of each row to prune. None is 0.5, or what N:M implies.
        allocation: rule that distributes the sparsity over the Linears: an instance, a class name or a dotted path.
        refine: rule that swaps pruned and kept weights afterwards, specified likewise, or a sequence of such rules to
            apply in order. None keeps the criterion's mask.
        reconstruct: rule that gives the kept weights new values, specified likewise. None leaves them as the criterion
            does.
        targets: shell-style patterns of names, as a list or separated by commas. None is every Linear and expert of the
            decoder's blocks except routers, or those that the pattern applies to.
        propagate: whether each block is calibrated on the outputs of its pruned predecessors. False is one-shot
            pruning.
        seed: seed of everything that rules draw at random; the same seed gives the same masks.
        trainer: runs the prediction loop, in the dtype of the model or in mixed precision. None makes one with a
            progress bar.
        run_dir: folder to write each finished block, masks.safetensors and report.json to, if given. The same call
            resumes after the last finished block, or takes everything from the model that ``atv.save`` wrote there; a
            different call is rejected. Disk space for the model is checked first.
        calibration: description of the samples, for the report. None is what the batches record about themselves.

    Raises:
        ValueError: if an argument is invalid, before calibration starts; if activations are not finite, at the first
            block and sample in which they occur.
    """
    require_calibrating(trainer)
    lvlm = _undecoupled(model)
    pathway = Pathway(selection, sparsity, criterion, pattern, allocation, refine, reconstruct)
    chosen_targets = pathway.targets(lvlm, lvlm.targets(targets))
    plan = pathway.plan(lvlm, chosen_targets)
    if run_dir is not None:
        require_space(writable(run_dir, "run_dir"), output_bytes(lvlm, chosen_targets, plan.updates_weights), "run_dir")

    def install_target(name: str, target: Target, pruned: Mapping[str, Pruned]) -> None:
        target.weight.data.copy_(pruned[BOTH].applied_to(target.weight.data))
        if (shift := pruned[BOTH].shift) is not None:
            assert isinstance(target, nn.Linear)
            target.bias.data.add_(shift.to(target.bias))
        plan.pattern.settle(lvlm, target, pruned[BOTH].mask)

    job = PruningJob(lvlm, chosen_targets, {BOTH: plan}, propagate, seed, calibration or {})
    return run(job, install_target, batches, trainer, run_dir)


def decouple(
    model: PreTrainedModel,
    batches: Iterable[Mapping[str, Any]],
    *,
    text: Pathway,
    visual: Pathway,
    targets: Sequence[str] | str | None = None,
    propagate: bool = True,
    seed: int = 0,
    trainer: L.Trainer | None = None,
    run_dir: str | Path | None = None,
    calibration: Mapping[str, Any] | None = None,
) -> PruningReport:
    """Gives every target one weight per modality, in place, and prunes each in its own way (the paper's probe).

    Generated tokens are text. To leave ``o_proj`` shared and dense, name only the other Linears in ``targets``.

    Args:
        text, visual: how to calibrate and prune each pathway.
        model, batches, targets, propagate, seed, trainer, run_dir, calibration: as for ``prune``.

    Returns:
        A report whose ``pathways["text"]`` and ``pathways["visual"]`` hold the masks.

    Raises:
        ValueError: as ``prune`` does.
    """
    require_calibrating(trainer)
    if is_offloaded(model):
        raise ValueError("model: pathways of an offloaded model cannot be decoupled; load it without offload")
    lvlm = _undecoupled(model)
    chosen_targets = visual.targets(lvlm, text.targets(lvlm, lvlm.targets(targets)))
    plans = {"text": text.plan(lvlm, chosen_targets), "visual": visual.plan(lvlm, chosen_targets)}

    for plan in plans.values():
        if isinstance(plan.reconstruct, BlockReconstruction):
            raise ValueError(
                f"reconstruct: {type(plan.reconstruct).__name__} trains a block as a whole, but decoupled pathways "
                "have separate weights; choose another, such as LeastSquares"
            )
        if plan.pattern.reroutes:
            raise ValueError(
                f"pattern: {type(plan.pattern).__name__} sends tokens to different experts, but decoupled pathways "
                "share their router"
            )
        if plan.updates_biases:
            raise ValueError(f"reconstruct: {type(plan.reconstruct).__name__} changes biases, which pathways share")

    def install_target(name: str, target: Target, pruned: Mapping[str, Pruned]) -> None:
        decouple_target(model, name, target, **pruned)
        # From here on the model cannot run without its hooks.
        hooks.pop_all()

    job = PruningJob(lvlm, chosen_targets, plans, propagate, seed, calibration or {})
    with route(lvlm) as hooks:
        return run(job, install_target, batches, trainer, run_dir)


def _undecoupled(model: PreTrainedModel) -> LVLM:
    require_ordinary(model)
    for name, module in model.named_modules():
        if isinstance(module, (DecoupledLinear, DecoupledExperts)):
            raise ValueError(f"model: the pathways of {name} are already decoupled and pruned; load the model again")
    return LVLM.of(model)
