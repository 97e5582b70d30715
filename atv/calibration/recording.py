"""What the targets of a block read while it runs, and which tokens the experts of a layer are given."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atv.model.experts import FIRST, LAST, ExpertWeight, FusedExperts
from atv.model.targets import Target


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


def positions(layer: FusedExperts, arguments: Mapping[str, Any]) -> Tensor | None:
    """Flat indices of the tokens that the layer is given, by its block's keyword arguments; None for all.

    ERNIE 4.5 VL has experts for text and others for vision, and gives each its own modality's tokens.
    """
    modality = arguments.get("moe_mm_token_type_ids")
    if modality is None or not modality.any():
        return None
    visual = modality.flatten() != 0
    return (visual if layer.modality == "visual" else ~visual).nonzero().squeeze(1)


def inner(layer: FusedExperts, hidden: Tensor, routing: Routing) -> Tensor:
    """What each pair's expert gives to its last projection: (pairs, inner).

    The module's forward may be one fused kernel, so this is computed beside it, which costs an observed layer
    two thirds of its products once more.
    """
    sizes = torch.bincount(routing.expert, minlength=layer.count).tolist()
    rows = zip(range(layer.count), routing.row.split(sizes), strict=True)
    return torch.cat([_gated(layer, hidden[row], expert) for expert, row in rows])


def _gated(layer: FusedExperts, x: Tensor, expert: int) -> Tensor:
    bias = getattr(layer.module, f"{layer.first}_bias", None)
    x = F.linear(x, layer.weight(layer.first, expert), None if bias is None else bias[expert])
    if layer.first != FIRST[0]:
        return layer.module.act_fn(x)
    if hasattr(layer.module, "_apply_gate"):
        return layer.module._apply_gate(x)
    gate, up = x.chunk(2, dim=-1)
    return layer.module.act_fn(gate) * up


@dataclass(frozen=True)
class RoutedInputs:
    """What a layer of experts read at one of its parameters: pair i of ``routing`` read ``values[row[i]]``.

    ``row`` is int64 (pairs,).
    """

    values: Tensor
    row: Tensor
    routing: Routing
    layer: FusedExperts


@dataclass(frozen=True)
class Recording:
    """What the targets of a block read.

    ``sites`` maps each distinct Linear input, called after the first Linear that reads it, to that input (batch,
    length, in), or (batch * length, in) where the model lays tokens flat; ``routed`` maps each fused parameter to what
    its experts read; ``site_of`` maps a Linear to its site, and an expert's weight to itself.
    """

    sites: dict[str, Tensor] = field(default_factory=dict)
    routed: dict[str, RoutedInputs] = field(default_factory=dict)
    site_of: dict[str, str] = field(default_factory=dict)


@contextmanager
def recording(targets: Mapping[str, Target], tokens: int, arguments: Mapping[str, Any]) -> Iterator[Recording]:
    """Hooks the targets of a block while it runs on ``tokens`` tokens with these keyword arguments.

    Linears that read the very same tensor share one site. A layer of experts that the block does not call, because
    no token is for it, has read nothing.
    """
    noted = Recording()
    with ExitStack() as hooks:
        for name, target in targets.items():
            if isinstance(target, nn.Linear):
                hooks.enter_context(target.register_forward_pre_hook(_note_linear(noted, name, tokens)))
        for layer, parameters in _layers(targets).items():
            _note_pairs(noted, layer, parameters, *_nothing(layer))
            note = _note_experts(noted, layer, parameters, tokens, positions(layer, arguments))
            hooks.enter_context(layer.module.register_forward_pre_hook(note, with_kwargs=True))
        noted.site_of.update({name: name for name, target in targets.items() if isinstance(target, ExpertWeight)})
        yield noted


def _note_linear(noted: Recording, name: str, tokens: int) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if args[0].shape[:-1].numel() != tokens:
            raise ValueError(
                f"targets: {name} read {tuple(args[0].shape)}, which is not one row for each of {tokens} tokens"
            )
        site = next((site for site, seen in noted.sites.items() if seen is args[0]), name)
        noted.site_of[name] = site
        noted.sites.setdefault(site, args[0])

    return hook


def _layers(targets: Mapping[str, Target]) -> dict[FusedExperts, set[str]]:
    """The layers of experts among the targets, with the parameters that are targets of at least one expert."""
    layers: dict[FusedExperts, set[str]] = {}
    for target in targets.values():
        if isinstance(target, ExpertWeight):
            layers.setdefault(target.layer, set()).add(target.parameter)
    return layers


def _nothing(layer: FusedExperts) -> tuple[Tensor, Routing]:
    weight = layer.weight(layer.first, 0)
    none = torch.zeros(0, dtype=torch.long, device=weight.device)
    return weight.new_zeros(0, weight.shape[1]), Routing(none, none, none)


def _note_experts(
    noted: Recording, layer: FusedExperts, parameters: set[str], tokens: int, given: Tensor | None
) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden, routing = routed_tokens(layer, args, kwargs)
        rows = tokens if given is None else len(given)
        if len(hidden) not in (rows, rows * layer.count):
            raise ValueError(f"targets: {layer.name} was given {len(hidden)} rows for {rows} tokens; whose is unknown")
        token = routing.token if given is None else given[routing.token]
        _note_pairs(noted, layer, parameters, hidden, replace(routing, token=token))

    return hook


def _note_pairs(noted: Recording, layer: FusedExperts, parameters: set[str], hidden: Tensor, routing: Routing) -> None:
    if layer.first in parameters:
        first = RoutedInputs(hidden, routing.row, routing, layer)
        noted.routed[f"{layer.name}.{layer.first}"] = first
    if LAST in parameters:
        each = torch.arange(len(routing.row), device=hidden.device)
        values = inner(layer, hidden, routing)
        noted.routed[f"{layer.name}.{LAST}"] = RoutedInputs(values, each, routing, layer)
