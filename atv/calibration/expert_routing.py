"""Which tokens the experts of a layer are given, and what each pair of token and expert reads there."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from atv.model.experts import FIRST, FusedExperts


@dataclass(frozen=True)
class Routing:
    """The pairs of token and expert that a router made, by expert and then by token; all int64 (pairs,).

    ``row`` is the pair's row in the layer's hidden states, ``token`` the token's index in the batch laid flat; ``gate``
    (pairs,) is what the expert's output is multiplied by, None where inputs are scaled instead.
    """

    row: Tensor
    token: Tensor
    expert: Tensor
    gate: Tensor | None = None


def routed_tokens(layer: FusedExperts, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Tensor, Routing]:
    """(hidden states (rows, hidden), who reads them), from the arguments of the module's forward.

    Llama 4 gives every expert all tokens, scaled by a score that is zero where a token was not routed; all other
    types give each token once, with the indices of its experts (tokens, k).
    """
    _, hidden, *rest = inspect.signature(type(layer.module).forward).bind(layer.module, *args, **kwargs).args
    hidden = hidden.reshape(-1, hidden.shape[-1])
    if not rest:
        expert, token = (hidden.unflatten(0, (layer.count, -1)) != 0).any(-1).nonzero(as_tuple=True)
        return hidden, Routing(expert * (len(hidden) // layer.count) + token, token, expert)
    index = rest[0].reshape(len(hidden), -1)
    expert, order = torch.sort(index.flatten(), stable=True)
    # An index beyond the last expert stands for none (expert parallelism, or experts that compute nothing).
    known = int((expert < layer.count).sum())
    row = order[:known] // index.shape[1]
    gate = rest[1].reshape(-1)[order[:known]] if len(rest) > 1 and rest[1].shape == rest[0].shape else None
    return hidden, Routing(row, row, expert[:known], gate)


def given_tokens(layer: FusedExperts, arguments: Mapping[str, Any]) -> Tensor | None:
    """Flat indices of the tokens that the layer is given, by its block's keyword arguments; None for all.

    ERNIE 4.5 VL has experts for text and others for vision, and gives each its own modality's tokens.
    """
    modality = arguments.get("moe_mm_token_type_ids")
    if modality is None or not modality.any():
        return None
    visual = modality.flatten() != 0
    return (visual if layer.modality == "visual" else ~visual).nonzero().squeeze(1)


def last_projection_inputs(layer: FusedExperts, hidden: Tensor, routing: Routing) -> Tensor:
    """What each pair's expert gives to its last projection: (pairs, inner).

    The module's forward may be one fused kernel, so this is computed beside it, which costs an observed layer
    two thirds of its products once more.
    """
    sizes = torch.bincount(routing.expert, minlength=layer.count).tolist()
    rows = zip(range(layer.count), routing.row.split(sizes), strict=True)
    return torch.cat([_gated(layer, hidden[row], expert) for expert, row in rows])


def _gated(layer: FusedExperts, x: Tensor, expert: int) -> Tensor:
    """What an expert makes of tokens before its last projection: (n, hidden) -> (n, inner)."""
    x = layer.project(layer.first, x, expert)
    if layer.first != FIRST[0]:
        return layer.module.act_fn(x)
    if hasattr(layer.module, "_apply_gate"):
        return layer.module._apply_gate(x)
    gate, up = x.chunk(2, dim=-1)
    return layer.module.act_fn(gate) * up
