"""Calls a selection rule on a sample and checks its results; errors name the rule's class and method."""

from typing import Any

import torch
from torch import Tensor

from atv.calibration.unchanged_inputs import unchanged
from atv.plugins import ContractError
from atv.selection import SetStatistics, Tokens, TokenSelection, VisualRanking


def selected(rule: TokenSelection, tokens: Tokens) -> Tensor:
    """Returns the result of ``select`` for a sample (n tokens): bool or float (n,).

    Raises:
        ContractError: for any other result, weights that are negative or not finite, or tokens changed in place.
    """
    with unchanged(rule, "select", tokens=tokens):
        weights = rule.select(tokens)
    _check_weights(rule, "select", weights, len(tokens.visual))
    return weights


def undecided(rule: TokenSelection, tokens: Tokens, chosen: Tensor) -> Tensor:
    """Returns the result of ``candidates`` for a sample of which ``chosen`` (n,) enter at once: int64 (k,).

    Raises:
        ContractError: for any other result, a token named twice or already chosen, or tokens changed in place.
    """
    method = "rank" if type(rule).candidates is VisualRanking.candidates else "candidates"
    with unchanged(rule, method, tokens=tokens):
        candidates: Any = rule.candidates(tokens)
    label, length = f"selection: {type(rule).__name__}.candidates", len(chosen)
    if not isinstance(candidates, Tensor) or candidates.dtype != torch.long or candidates.dim() != 1:
        raise ContractError(f"{label} must return indices of tokens, int64 (k,)")
    if not len(candidates):
        return candidates
    lowest, highest = (int(index) for index in candidates.aminmax())
    if lowest < 0 or highest >= length:
        raise ContractError(f"{label} returned indices from {lowest} to {highest}; expected 0 to {length - 1}")
    if repeated := len(candidates) - len(candidates.unique()):
        raise ContractError(
            f"{label} returned {len(candidates)} indices, {repeated} repeated; expected each token once"
        )
    if already_chosen := int((chosen.to(candidates.device)[candidates] != 0).sum()):
        raise ContractError(f"{label} returned {already_chosen} tokens that select had already chosen; expected others")
    return candidates


def decided(rule: TokenSelection, candidates: Tensor, n_text: int, statistics: SetStatistics) -> Tensor:
    """Returns the result of ``decide`` for candidates (k,): bool or float (k,).

    Raises:
        ContractError: as in ``selected``.
    """
    with unchanged(rule, "decide", statistics=statistics):
        weights = rule.decide(candidates, n_text, statistics)
    _check_weights(rule, "decide", weights, len(candidates))
    return weights


def _check_weights(rule: TokenSelection, method: str, weights: Any, length: int) -> None:
    label = f"selection: {type(rule).__name__}.{method}"
    if not isinstance(weights, Tensor):
        raise ContractError(f"{label} returned a {type(weights).__name__}; expected a tensor of bools or floats")
    if weights.shape != (length,):
        raise ContractError(f"{label} returned weights of shape {tuple(weights.shape)} for {length} tokens")
    if weights.dtype != torch.bool and not weights.is_floating_point():
        raise ContractError(f"{label} returned {weights.dtype}; expected bools or floats, one per token")
    if weights.is_floating_point() and not (weights.isfinite().all() and (weights >= 0).all()):
        raise ContractError(f"{label} returned weights that are negative or not finite")
