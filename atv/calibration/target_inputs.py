"""The inputs that a block's targets, its Linears and experts, read while it runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from atv.calibration.expert_routing import Routing, given_tokens, last_projection_inputs, routed_tokens
from atv.model.experts import LAST, ExpertWeight, FusedExperts
from atv.model.targets import Target


@dataclass(frozen=True)
class RoutedInputs:
    """The inputs of a layer of experts at one of its parameters: pair i of ``routing`` read ``values[row[i]]``.

    ``row`` is int64 (pairs,).
    """

    values: Tensor
    row: Tensor
    routing: Routing
    layer: FusedExperts


@dataclass(frozen=True)
class TargetInputs:
    """The inputs of a block's targets.

    ``sites`` maps each distinct Linear input, named after the first Linear that reads it, to its tensor: (batch,
    length, in), or (batch * length, in) if the model flattens tokens. ``routed`` maps each fused parameter to the
    inputs of its experts. ``site_of`` maps a Linear to its site, and an expert's weight to itself.
    """

    sites: dict[str, Tensor] = field(default_factory=dict)
    routed: dict[str, RoutedInputs] = field(default_factory=dict)
    site_of: dict[str, str] = field(default_factory=dict)


@contextmanager
def watching_inputs(targets: Mapping[str, Target], tokens: int, arguments: Mapping[str, Any]) -> Iterator[TargetInputs]:
    """Hooks the targets of a block while it runs on ``tokens`` tokens with these keyword arguments.

    Linears that read the very same tensor share one site. A layer of experts that the block does not call, because
    no token is meant for it, has empty inputs.
    """
    inputs = TargetInputs()
    with ExitStack() as hooks:
        for name, target in targets.items():
            if isinstance(target, nn.Linear):
                hooks.enter_context(target.register_forward_pre_hook(partial(_record_linear, inputs, name, tokens)))
        for layer, parameters in _expert_layers(targets).items():
            _record_pairs(inputs, layer, parameters, *_no_pairs(layer))
            note = _expert_hook(inputs, layer, parameters, tokens, given_tokens(layer, arguments))
            hooks.enter_context(layer.module.register_forward_pre_hook(note, with_kwargs=True))
        inputs.site_of.update({name: name for name, target in targets.items() if isinstance(target, ExpertWeight)})
        yield inputs


def _record_linear(inputs: TargetInputs, name: str, tokens: int, module: nn.Module, args: tuple[Tensor, ...]) -> None:
    if args[0].shape[:-1].numel() != tokens:
        raise ValueError(
            f"targets: {name} was given {tuple(args[0].shape)}, which is not one row for each of {tokens} tokens"
        )
    site = next((site for site, values in inputs.sites.items() if values is args[0]), name)
    inputs.site_of[name] = site
    inputs.sites.setdefault(site, args[0])


def _expert_layers(targets: Mapping[str, Target]) -> dict[FusedExperts, set[str]]:
    """Returns the layers of experts among the targets, with the parameters that are targets for at least one expert."""
    layers: dict[FusedExperts, set[str]] = {}
    for target in targets.values():
        if isinstance(target, ExpertWeight):
            layers.setdefault(target.layer, set()).add(target.parameter)
    return layers


def _no_pairs(layer: FusedExperts) -> tuple[Tensor, Routing]:
    weight = layer.weight(layer.first, 0)
    none = torch.zeros(0, dtype=torch.long, device=weight.device)
    return weight.new_zeros(0, weight.shape[1]), Routing(none, none, none)


def _expert_hook(
    inputs: TargetInputs, layer: FusedExperts, parameters: set[str], tokens: int, own_tokens: Tensor | None
) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden, routing = routed_tokens(layer, args, kwargs)
        rows = tokens if own_tokens is None else len(own_tokens)
        if len(hidden) not in (rows, rows * layer.count):
            raise ValueError(f"targets: {layer.name} was given {len(hidden)} rows for {rows} tokens; they do not match")
        token = routing.token if own_tokens is None else own_tokens[routing.token]
        _record_pairs(inputs, layer, parameters, hidden, replace(routing, token=token))

    return hook


def _record_pairs(
    inputs: TargetInputs, layer: FusedExperts, parameters: set[str], hidden: Tensor, routing: Routing
) -> None:
    if layer.first in parameters:
        inputs_of_first = RoutedInputs(hidden, routing.row, routing, layer)
        inputs.routed[f"{layer.name}.{layer.first}"] = inputs_of_first
    if LAST in parameters:
        row = torch.arange(len(routing.row), device=hidden.device)
        values = last_projection_inputs(layer, hidden, routing)
        inputs.routed[f"{layer.name}.{LAST}"] = RoutedInputs(values, row, routing, layer)
