"""Which tokens are routed to the experts of a layer, and what each pair of token and expert reads there."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from atv.model.experts import FIRST, FusedExperts


@dataclass(frozen=True)
class Routing:
    """The pairs of token and expert that a router made, sorted by expert and then by token; int64 (pairs,).

    ``row`` is the pair's row in the layer's hidden states, and ``token`` the token's index in the flattened batch.
    ``gate``, float (pairs,), is the factor on the expert's output, or None if inputs are scaled instead.
    """

    row: Tensor
    token: Tensor
    expert: Tensor
    gate: Tensor | None = None


def routed_tokens(layer: FusedExperts, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Tensor, Routing]:
    """Returns hidden states (rows, hidden) and the pairs that read them, from the arguments of the module's forward.

    Llama 4 passes all tokens to every expert, scaled by a score that is zero if a token was not routed there. All other
    types pass each token once, with the indices of its experts (tokens, k).
    """
    _, hidden, *routing = inspect.signature(type(layer.module).forward).bind(layer.module, *args, **kwargs).args
    hidden = hidden.reshape(-1, hidden.shape[-1])
    if not routing:
        expert, token = (hidden.unflatten(0, (layer.count, -1)) != 0).any(-1).nonzero(as_tuple=True)
        return hidden, Routing(expert * (len(hidden) // layer.count) + token, token, expert)
    index = routing[0].reshape(len(hidden), -1)
    expert, order = torch.sort(index.flatten(), stable=True)
    # An index beyond the last expert means no expert (expert parallelism, or experts that compute nothing).
    pairs = int((expert < layer.count).sum())
    row = order[:pairs] // index.shape[1]
    gate = routing[1].reshape(-1)[order[:pairs]] if len(routing) > 1 and routing[1].shape == routing[0].shape else None
    return hidden, Routing(row, row, expert[:pairs], gate)


def given_tokens(layer: FusedExperts, arguments: Mapping[str, Any]) -> Tensor | None:
    """Flat indices of the tokens that the layer receives, from its block's keyword arguments; None for all.

    ERNIE 4.5 VL has separate experts for text and for vision, which receive only the tokens of their modality.
    """
    modality = arguments.get("moe_mm_token_type_ids")
    if modality is None or not modality.any():
        return None
    visual = modality.flatten() != 0
    return (visual if layer.modality == "visual" else ~visual).nonzero().squeeze(1)


def last_projection_inputs(layer: FusedExperts, hidden: Tensor, routing: Routing) -> Tensor:
    """Returns the input of each pair's expert to its last projection: (pairs, inner).

    The module's forward may be one fused kernel, so this is computed separately, which repeats two thirds of the matrix
    products of an observed layer.
    """
    sizes = torch.bincount(routing.expert, minlength=layer.count).tolist()
    rows = zip(range(layer.count), routing.row.split(sizes), strict=True)
    return torch.cat([_last_inputs(layer, hidden[row], expert) for expert, row in rows])


def _last_inputs(layer: FusedExperts, inputs: Tensor, expert: int) -> Tensor:
    """Computes an expert's activations before its last projection: (n, hidden) -> (n, inner)."""
    inputs = layer.project(layer.first, inputs, expert)
    if layer.first != FIRST[0]:
        return layer.module.act_fn(inputs)
    if hasattr(layer.module, "_apply_gate"):
        return layer.module._apply_gate(inputs)
    gate, up = inputs.chunk(2, dim=-1)
    return layer.module.act_fn(gate) * up
