"""Whether plug-ins are what their kinds ask for, found on a few made-up tokens before any sample is read."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from atv.allocation import Allocation
from atv.criteria import Criterion, PoolStatistics
from atv.patterns import Pattern
from atv.plugins import ContractError, Plugin, describe
from atv.refinement import Reconstruction, Refinement
from atv.selection import PartedSelection, SetStatistics, Tokens, TokenSelection, WholeSet

_TEXT, _VISUAL, _WIDTH = 24, 40, 64


def check_contracts(
    selection: TokenSelection, criterion: Criterion, pattern: Pattern, allocation: Allocation, dtype: torch.dtype
) -> None:
    """Checks what each keeps of its constructor's arguments, which methods it has, and what its methods return.

    Args:
        selection, criterion, pattern, allocation: the plug-ins of a pathway; they are tried as copies.
        dtype: of the weights that will be scored.

    Raises:
        ContractError: naming the option, the class and what is wrong.
    """
    parts = {"selection": selection, "criterion": criterion, "pattern": pattern, "allocation": allocation}
    for option, part in parts.items():
        try:
            describe(part)
        except ContractError as error:
            raise ContractError(f"{option}: {error}") from error
    for option, part, needed, method, base in (
        ("allocation", allocation, allocation.needs_dense, "measure", Allocation),
        ("pattern", pattern, pattern.joint, "masks", Pattern),
        ("pattern", pattern, pattern.sweep_width(1) is not None, "columns_mask", Pattern),
    ):
        if needed and getattr(type(part), method) is getattr(base, method):
            raise ContractError(f"{option}: {type(part).__name__} promises the method {method} and does not define it")
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        _on_a_copy("selection", selection, _try_selection)
        _on_a_copy("criterion", criterion, lambda tried: tried.checked_score(*_weight_and_pool(tried, dtype)))
        if pattern.sparsity is not None and not pattern.joint:
            _on_a_copy("pattern", pattern, _try_pattern)


def check_steps(steps: Iterable[Refinement | Reconstruction], dtype: torch.dtype) -> None:
    """Checks what follows the criterion, tried as copies, as ``check_contracts`` does.

    Raises:
        ContractError: naming the option, the class and what is wrong.
    """
    for step in steps:
        option = "refine" if isinstance(step, Refinement) else "reconstruct"
        try:
            describe(step)
        except ContractError as error:
            raise ContractError(f"{option}: {error}") from error
        with torch.no_grad():
            _on_a_copy(option, step, lambda tried: _try_step(tried, dtype))


def _try_step(step: Refinement | Reconstruction, dtype: torch.dtype) -> None:
    weight, pool = _weight_and_pool(step, dtype)
    mask = torch.arange(weight.shape[1]).expand_as(weight) % 2 == 0
    if isinstance(step, Refinement):
        made, option = step.refine(weight, mask, pool, weight.shape[1]), "refine"
    else:
        made, option = step.reconstruct(weight, mask, pool), "reconstruct"
    if made.shape != weight.shape:
        kind = type(step).__name__
        raise ContractError(f"{option}: {kind} gave {tuple(made.shape)} for a weight of {tuple(weight.shape)}")


def check_weights(rule: TokenSelection, method: str, weights: Any, length: int) -> None:
    """Checks what a rule's ``select`` or ``decide`` returned for so many tokens.

    Raises:
        ContractError: unless it is a tensor (length,), bool or float, the latter finite and not negative.
    """
    name = f"selection: {type(rule).__name__}.{method}"
    if not isinstance(weights, Tensor):
        raise ContractError(f"{name} gave a {type(weights).__name__}; expected a tensor of bools or floats")
    if weights.shape != (length,):
        raise ContractError(f"{name} gave weights of shape {tuple(weights.shape)} for {length} tokens")
    if weights.dtype != torch.bool and not weights.is_floating_point():
        raise ContractError(f"{name} gave {weights.dtype}; expected bools or floats, one a token")
    if weights.is_floating_point() and not (weights.isfinite().all() and (weights >= 0).all()):
        raise ContractError(f"{name} gave weights that are negative or not finite")


def _on_a_copy(option: str, part: Plugin, attempt: Callable[[Any], object]) -> None:
    """Lets a copy try, so that nothing the plug-in keeps is touched."""
    try:
        tried = copy.deepcopy(part)
    except Exception:
        # It keeps what cannot be copied: the first sample will tell.
        return
    try:
        attempt(tried)
    except ContractError:
        raise
    except (AttributeError, NameError, NotImplementedError, TypeError) as error:
        kind, why = type(part).__name__, f"{type(error).__name__}: {error}"
        raise ContractError(f"{option}: {kind} fails on made-up input: {why}") from error
    except Exception:
        # Such as too few tokens, or a tensor on another device: made-up input may not be what the plug-in is for.
        return


def _try_selection(rule: TokenSelection) -> None:
    if isinstance(rule, PartedSelection):
        return
    length = _TEXT + _VISUAL
    before, after, outputs = torch.randn(3, length, _WIDTH, generator=torch.Generator().manual_seed(0))
    visual, position = torch.arange(length) >= _TEXT, torch.arange(length)
    whole = WholeSet(position, visual, ~visual & (position % 2 == 0), torch.zeros_like(position))
    tokens = Tokens(
        visual,
        position,
        before,
        after,
        sample=0,
        block=0,
        seed=0,
        last_attention=torch.full((length,), 1 / length) if rule.needs_attention else None,
        dense_output=outputs if rule.per_linear else None,
        output_sensitivity=outputs.square().sum(-1) if rule.needs_sensitivity and rule.per_linear else None,
        ids=position,
        labelled=~visual & (position % 2 == 0) if rule.needs_answers else None,
        calibration_set=whole if rule.needs_whole else None,
    )
    check_weights(rule, "select", rule.select(tokens), length)
    candidates: Any = rule.candidates(tokens)
    if not isinstance(candidates, Tensor) or candidates.dtype != torch.long or candidates.dim() != 1:
        raise ContractError(f"selection: {type(rule).__name__}.candidates must give indices of tokens, int64 (k,)")
    if len(candidates):
        weights = rule.decide(candidates, _TEXT, SetStatistics(0.5, 1, _TEXT, _VISUAL, whole))
        check_weights(rule, "decide", weights, len(candidates))


def _try_pattern(pattern: Pattern) -> None:
    """Checks that the share which a pattern implies goes, up to one weight a row."""
    implied = pattern.sparsity
    assert implied is not None
    mask = pattern.mask(torch.rand(_WIDTH, _WIDTH, generator=torch.Generator().manual_seed(0)), implied)
    gone = 1 - float(mask.float().mean())
    if mask.dtype == torch.bool and abs(gone - implied) > 1 / _WIDTH:
        kind = type(pattern).__name__
        raise ContractError(f"pattern: {kind}.mask prunes {gone:.1%} of a weight; expected {implied:.1%}, its sparsity")


def _weight_and_pool(
    step: Criterion | Refinement | Reconstruction, dtype: torch.dtype
) -> tuple[Tensor, PoolStatistics]:
    weight, inputs = torch.randn(2, _WIDTH, _WIDTH, generator=torch.Generator().manual_seed(0))
    gram = inputs.double().T @ inputs.double() / len(inputs) if step.needs_gram else None
    mean, variance = (inputs.double().mean(0), inputs.double().var(0)) if step.needs_moments else (None, None)
    gradient = weight.abs() if isinstance(step, Criterion) and step.needs_gradient else None
    return weight.to(dtype), PoolStatistics(inputs.square().mean(0).sqrt(), gram, mean, variance, gradient=gradient)
