"""Calls allocations and the steps after a criterion, and checks their results; errors name the class."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from atv.allocation import Allocation, DenseStatistics
from atv.allocation.budget import mean, sizes
from atv.calibration.unchanged_inputs import unchanged
from atv.criteria import Criterion, PoolStatistics, Pruned
from atv.model.targets import Target
from atv.plugins import ContractError
from atv.refinement import Reconstruction, Refinement


def allocated(
    allocation: Allocation, targets: Mapping[str, Target], sparsity: float, dense: DenseStatistics
) -> Mapping[str, float]:
    """Returns the result of ``allocate``, whose mean weighted by size is ``sparsity``, up to rounding.

    Raises:
        ContractError: if the result is not a dict, or has a different mean.
        ValueError: if a target is left out, or its sparsity is outside [0, 1].
    """
    weights = {name: target.weight for name, target in targets.items()}
    with unchanged(allocation, "allocate", weights=weights, dense=dense):
        sparsities: Any = allocation.allocate(targets, sparsity, dense)
    label = f"allocation: {type(allocation).__name__}"
    if not isinstance(sparsities, Mapping):
        class_name = type(sparsities).__name__
        raise ContractError(f"{label}.allocate returned a {class_name}; expected a dict of names to sparsities")
    for name in targets:
        if not 0 <= (target_sparsity := sparsities.get(name, -1.0)) <= 1:
            raise ValueError(f"{label} returned {target_sparsity if name in sparsities else 'no sparsity'} for {name}")
    size_of = sizes(targets)
    # One weight of every row, or one block if blocks are removed whole.
    rounding = sum(size // targets[name].in_features for name, size in size_of.items())
    if allocation.chooses_blocks:
        by_block: Counter[int] = Counter()
        for name, size in size_of.items():
            by_block[dense.block_of[name]] += size
        rounding = max(by_block.values())
    if size_of and abs((average := mean(sparsities, size_of)) - sparsity) > rounding / sum(size_of.values()) + 1e-9:
        raise ContractError(f"{label}.allocate returned a mean by size of {average:.6g}; expected {sparsity:.6g}")
    return sparsities


def refined(step: Refinement, weight: Tensor, mask: Tensor, pool: PoolStatistics, width: int) -> Tensor:
    """Returns the mask of ``refine``, with as many pruned weights in each group of ``width`` inputs as before.

    Raises:
        ContractError: if ``refine`` returns anything else.
    """
    with unchanged(step, "refine", weight=weight, mask=mask, pool=pool):
        new_mask = step.refine(weight, mask, pool, width)
    _check_shape(step, new_mask, weight)
    kept_before, kept_after = (kept.cpu().unflatten(1, (-1, width)).sum(-1) for kept in (mask, new_mask))
    if new_mask.dtype != torch.bool or not torch.equal(kept_before, kept_after):
        raise ContractError(f"refine: {type(step).__name__} changed how many weights a row or group keeps")
    return new_mask


def reconstructed(step: Reconstruction, weight: Tensor, mask: Tensor, pool: PoolStatistics) -> Pruned:
    """Returns the mask with the results of ``reconstruct`` and, if the step needs biases, of ``shift``.

    Raises:
        ContractError: if the weight has a different shape or is not finite.
    """
    with unchanged(step, "reconstruct", weight=weight, mask=mask, pool=pool):
        shift = step.shift(weight, mask, pool) if step.needs_bias else None
        new_weight = step.reconstruct(weight, mask, pool)
    _check_shape(step, new_weight, weight)
    pruned = Pruned(mask, new_weight, shift)
    check_finite(step, weight, pruned)
    return pruned


def check_finite(step: Criterion | Reconstruction, weight: Tensor, pruned: Pruned) -> None:
    """Raises a ContractError if the kept weights are not finite in the dense weight's dtype."""
    if pruned.weight is not None and not bool(pruned.applied_to(weight).isfinite().all()):
        raise ContractError(f"{step.option}: {type(step).__name__} returned weights that are not finite")


def _check_shape(step: Refinement | Reconstruction, result: Any, weight: Tensor) -> None:
    shape = tuple(result.shape) if isinstance(result, Tensor) else f"a {type(result).__name__}"
    if shape != tuple(weight.shape):
        raise ContractError(
            f"{step.option}: {type(step).__name__} returned {shape} for a weight of {tuple(weight.shape)}"
        )
