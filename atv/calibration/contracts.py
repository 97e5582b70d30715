"""Checks on a few made-up tokens, before any sample is read, that plug-ins fulfil the contracts of their kinds."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from atv.allocation import Allocation
from atv.calibration.checked_selection import decided, selected, undecided
from atv.calibration.checked_steps import reconstructed, refined
from atv.calibration.pathway_plan import PathwayPlan
from atv.calibration.unchanged_inputs import unchanged
from atv.criteria import Criterion, PoolStatistics
from atv.patterns import Pattern
from atv.plugins import ContractError, Plugin, describe
from atv.refinement import Reconstruction, Refinement
from atv.selection import PartedSelection, SetStatistics, Tokens, TokenSelection, WholeSet

_TEXT, _VISUAL, _WIDTH = 24, 40, 64
# Used while no model is available yet.
_LINEAR = "model.language_model.layers.0.self_attn.q_proj"


def check_contracts(plan: PathwayPlan, dtype: torch.dtype, linear: str = _LINEAR) -> None:
    """Checks that each plug-in stores its constructor's arguments, which methods it has, and what they return.

    Args:
        plan: the plan whose plug-ins are tried, as copies.
        dtype: dtype of the weights that will be scored, and of hidden states.
        linear: the name of a Linear that will be pruned, for ``per_linear`` rules.

    Raises:
        ContractError: naming the option, the class and what is wrong.
    """
    for part in plan.plugins:
        _check_arguments(part)
    pattern, allocation = plan.pattern, plan.allocation
    promises: tuple[tuple[Plugin, bool, str, type[Plugin]], ...] = (
        (allocation, allocation.needs_dense, "measure", Allocation),
        (pattern, pattern.joint, "masks", Pattern),
        (pattern, pattern.sweep_width(1) is not None, "columns_mask", Pattern),
    )
    for plugin, promised, method, base in promises:
        if promised and getattr(type(plugin), method) is getattr(base, method):
            class_name = type(plugin).__name__
            raise ContractError(f"{plugin.option}: {class_name} promises the method {method} but does not define it")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        on_a_copy(plan.selection, lambda plugin_copy: _check_selection(plugin_copy, dtype, linear))
        on_a_copy(plan.criterion, lambda plugin_copy: _check_criterion(plugin_copy, dtype))
        if not pattern.joint and not pattern.by_block:
            on_a_copy(pattern, _check_pattern)
        for step in plan.plugins:
            if isinstance(step, Refinement | Reconstruction):
                on_a_copy(step, lambda plugin_copy: _check_step(plugin_copy, dtype))


def _check_arguments(plugin: Plugin) -> None:
    """Checks that a report can hold the arguments of a plug-in."""
    try:
        describe(plugin)
    except ContractError as error:
        raise ContractError(f"{plugin.option}: {error}") from error


def _check_criterion(criterion: Criterion, dtype: torch.dtype) -> None:
    weight, pool = _weight_and_pool(criterion, dtype)
    with unchanged(criterion, "score", weight=weight, pool=pool):
        criterion.checked_score(weight, pool)


def _check_step(step: Refinement | Reconstruction, dtype: torch.dtype) -> None:
    weight, pool = _weight_and_pool(step, dtype)
    mask = torch.arange(weight.shape[1]).expand_as(weight) % 2 == 0
    if isinstance(step, Refinement):
        refined(step, weight, mask, pool, weight.shape[1])
    else:
        reconstructed(step, weight, mask, pool)


def on_a_copy(plugin: Plugin, attempt: Callable[[Any], object]) -> None:
    """Makes the attempt with a copy of the plug-in, so that the plug-in's own state does not change.

    Raises:
        ContractError: raised by the attempt, or if it fails with an error typical of code that is wrong for any input.
    """
    try:
        plugin_copy = copy.deepcopy(plugin)
    except Exception:
        # It holds something that cannot be copied, so faults will show only on the first sample.
        return
    try:
        attempt(plugin_copy)
    except ContractError:
        raise
    except (AttributeError, NameError, NotImplementedError, TypeError) as error:
        class_name, reason = type(plugin).__name__, f"{type(error).__name__}: {error}"
        raise ContractError(f"{plugin.option}: {class_name} fails on made-up input: {reason}") from error
    except Exception:
        # Too few tokens, say, or a tensor on a different device: the plug-in may not be meant for made-up input.
        return


def _check_selection(rule: TokenSelection, dtype: torch.dtype, linear: str) -> None:
    if isinstance(rule, PartedSelection):
        return
    length = _TEXT + _VISUAL
    block_input, block_output, linear_output = torch.randn(
        3, length, _WIDTH, generator=torch.Generator().manual_seed(0)
    ).to(dtype)
    visual, position = torch.arange(length) >= _TEXT, torch.arange(length)
    whole = WholeSet(position, visual, ~visual & (position % 2 == 0), torch.zeros_like(position))
    tokens = Tokens(
        visual,
        position,
        block_input,
        block_output,
        sample=0,
        block=0,
        seed=0,
        last_attention=torch.full((length,), 1 / length) if rule.needs_attention else None,
        linear=linear if rule.per_linear else "",
        dense_output=linear_output if rule.per_linear else None,
        output_sensitivity=linear_output.float().square().sum(-1)
        if rule.needs_sensitivity and rule.per_linear
        else None,
        ids=position,
        labelled=~visual & (position % 2 == 0) if rule.needs_answers else None,
        calibration_set=whole if rule.needs_whole else None,
    )
    candidates = undecided(rule, tokens, selected(rule, tokens))
    if len(candidates):
        decided(rule, candidates, _TEXT, SetStatistics(0.5, 1, _TEXT, _VISUAL, whole))


def _check_pattern(pattern: Pattern) -> None:
    """Checks that a pattern prunes the share that it implies, up to one weight per row.

    Any other pattern is asked for half, which it may round to anything from a quarter to three quarters.
    """
    requested, tolerance = (0.5, 0.25) if pattern.sparsity is None else (pattern.sparsity, 1 / _WIDTH)
    mask = pattern.checked_mask(torch.rand(_WIDTH, _WIDTH, generator=torch.Generator().manual_seed(0)), requested)
    pruned_share = 1 - float(mask.float().mean())
    if abs(pruned_share - requested) > tolerance:
        class_name, origin = type(pattern).__name__, "as requested" if pattern.sparsity is None else "its sparsity"
        raise ContractError(
            f"pattern: {class_name}.mask prunes {pruned_share:.1%} of a weight; expected {requested:.1%}, {origin}"
        )


def _weight_and_pool(
    step: Criterion | Refinement | Reconstruction, dtype: torch.dtype
) -> tuple[Tensor, PoolStatistics]:
    weight, inputs = torch.randn(2, _WIDTH, _WIDTH, generator=torch.Generator().manual_seed(0))
    gram = inputs.double().T @ inputs.double() / len(inputs) if step.needs_gram else None
    mean, variance = (inputs.double().mean(0), inputs.double().var(0)) if step.needs_moments else (None, None)
    saliency = 1.0 if isinstance(step, Criterion) and step.needs_saliency else None
    gradient = weight.abs() if isinstance(step, Criterion) and step.needs_gradient else None
    norm = inputs.square().mean(0).sqrt()
    return weight.to(dtype), PoolStatistics(norm, gram, mean, variance, saliency, gradient)
