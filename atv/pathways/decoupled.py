"""Linears and layers of experts with one weight for text tokens and one for visual tokens, and the routing of tokens.

Hooks on the model record which tokens of the running forward are visual.
"""

import copy
import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atv.criteria import Pruned
from atv.model.decoder import cache_of
from atv.model.experts import ExpertWeight
from atv.model.lvlm import LVLM
from atv.model.targets import Target

_OUTSIDE_FORWARD = object()
# A context variable, not a module attribute: while pathways are calibrated, the forwards of several batches are in
# progress at the same time, each in a greenlet with its own context.
_modalities: ContextVar[Any] = ContextVar("modalities", default=_OUTSIDE_FORWARD)


@dataclass(frozen=True)
class Modalities:
    """The number of a forward's tokens, and which are visual: bool (batch, length), or None if all are text."""

    tokens: int
    visual: Tensor | None

    @cached_property
    def rows(self) -> tuple[Tensor, Tensor]:
        """Indices of the text tokens and of the visual tokens in the flattened batch: int64 (tokens,) each."""
        assert self.visual is not None
        flat = self.visual.flatten()
        return (~flat).nonzero().squeeze(1), flat.nonzero().squeeze(1)


def current_modalities() -> Modalities:
    """The modalities of the running forward's tokens.

    Raises:
        RuntimeError: outside a forward of the whole model.
    """
    modalities = _modalities.get()
    if modalities is _OUTSIDE_FORWARD:
        raise RuntimeError("a decoupled Linear ran outside a forward of the LVLM, so no token has a modality")
    return modalities


def visual_mask(lvlm: LVLM, inputs: Mapping[str, Any]) -> Tensor | None:
    """Returns which tokens of a forward are visual, or None if none are.

    A forward that continues a cache and has no pixels is all text, whatever ids were generated.

    Raises:
        ValueError: for inputs_embeds without input_ids, because the modalities are then unknown.
    """
    if inputs.get("input_ids") is None:
        raise ValueError("decoupled pathways need input_ids: inputs_embeds alone do not tell visual tokens from text")
    cache = cache_of(inputs)
    continues = cache is not None and cache.get_seq_length() > 0
    if continues and not lvlm.brings_pixels(inputs):
        return None
    visual = lvlm.visual(inputs)
    return visual if visual.any() else None


def route(lvlm: LVLM) -> ExitStack:
    """Hooks the model so that each of its forwards sets the visual mask, and clears it at the end.

    Returns:
        A stack that removes the hooks when it is closed.
    """

    config = lvlm.model.config
    configs = [config, *(getattr(config, name, None) for name in config.sub_configs)]
    drops_positions = any(getattr(sub_config, "num_kv_shared_layers", 0) for sub_config in configs)

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        named_args = inspect.signature(module.forward).bind_partial(*args).arguments
        inputs = named_args | kwargs
        visual = visual_mask(lvlm, inputs)
        _modalities.set(Modalities(inputs["input_ids"].numel(), visual))
        return args, _with_every_position(named_args, kwargs) if drops_positions else kwargs

    def leave(module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        _modalities.set(_OUTSIDE_FORWARD)

    hooks = ExitStack()
    hooks.enter_context(lvlm.model.register_forward_pre_hook(enter, with_kwargs=True))
    hooks.enter_context(lvlm.model.register_forward_hook(leave, always_call=True))
    return hooks


def _with_every_position(named_args: Mapping[str, Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments; positions to keep are listed one by one, as the model would drop others on the way.

    If ``logits_to_keep`` is a number, those last blocks of Gemma 4 that share keys and values receive only so many last
    positions, and a decoupled Linear could not tell which tokens these are.
    """
    last_positions, ids = kwargs.get("logits_to_keep"), {**named_args, **kwargs}["input_ids"]
    if not isinstance(last_positions, int) or not last_positions:
        return kwargs
    length = ids.shape[1]
    return kwargs | {"logits_to_keep": torch.arange(max(length - last_positions, 0), length, device=ids.device)}


class DecoupledLinear(nn.Module):
    """Replaces a Linear; both pathways start from its weight, each under its own mask (Mixture-of-Transformers).

    Each token is multiplied once, by the weight of its modality. If both weights are equal, they are one parameter, and
    one product serves all tokens, bit for bit as in an ordinary Linear. The same holds for text-only forwards. If they
    differ, a product over fewer rows may round differently: last bits change, as with a different batch size.

    Args:
        linear: the dense Linear (in, out).
        text, visual: each pathway's mask, and its weight if the criterion updated the kept weights.
    """

    def __init__(self, linear: nn.Linear, text: Pruned, visual: Pruned) -> None:
        super().__init__()
        text_weight, visual_weight = (pruned.applied_to(linear.weight.detach()) for pruned in (text, visual))
        self.text = nn.Parameter(text_weight, requires_grad=False)
        self.visual = (
            self.text if torch.equal(text_weight, visual_weight) else nn.Parameter(visual_weight, requires_grad=False)
        )
        self.bias = linear.bias

    @property
    def weight(self) -> Tensor:
        """An empty tensor, shape (0,), with the dtype and device that some models read from a Linear's weight.

        Code that computes with the weight outside this module would use one pathway's for both; it gets an error.
        """
        return self.text.new_empty(0)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, in) -> (batch, length, out); batch and length may be one dimension (OPT, experts).

        Raises:
            ValueError: if the rows are not the forward's tokens, so that their modalities are unknown.
        """
        modalities = current_modalities()
        if self.visual is self.text:
            return F.linear(x, self.text, self.bias)
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) != modalities.tokens:
            raise ValueError(
                f"decouple: a Linear was given {len(rows)} rows for {modalities.tokens} tokens, as where every step "
                "reads what is cached of earlier tokens (MLA), whose modality is lost; generate with use_cache=False"
            )
        if modalities.visual is None:
            return F.linear(x, self.text, self.bias)
        text_rows, visual_rows = modalities.rows
        text = F.linear(rows.index_select(0, text_rows), self.text, self.bias)
        visual = F.linear(rows.index_select(0, visual_rows), self.visual, self.bias)
        # In the product's dtype, which differs from that of x under autocast.
        output = text.new_empty(len(rows), len(self.text))
        output.index_copy_(0, text_rows, text).index_copy_(0, visual_rows, visual)
        return output.view(*x.shape[:-1], -1)


class DecoupledExperts(nn.Module):
    """Replaces a layer of experts; both pathways start from its weights and share the router (as attention is shared).

    If both modalities are present, both products are computed and each token takes its own, which is exact for any
    kernel. Rows are not split by modality, because their layout differs between types of layers.
    """

    def __init__(self, experts: nn.Module) -> None:
        super().__init__()
        self.text = experts
        config = getattr(experts, "config", None)
        self.visual = copy.deepcopy(experts, {id(config): config})

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Hidden states (rows, hidden) of flattened tokens, and their routing -> (rows, hidden).

        Raises:
            ValueError: unless the rows are all of the forward's tokens, in order, once or once per expert.
        """
        visual = current_modalities().visual
        text_product = self.text(hidden_states, *args, **kwargs)
        if visual is None:
            return text_product
        rows_per_token, remainder = divmod(len(text_product), visual.numel())
        if remainder or not rows_per_token:
            raise ValueError(f"decouple: experts were given {len(text_product)} rows for {visual.numel()} tokens")
        visual_rows = visual.flatten().repeat(rows_per_token)[:, None]
        return torch.where(visual_rows, self.visual(hidden_states, *args, **kwargs), text_product)


def decouple_target(model: nn.Module, name: str, target: Target, text: Pruned, visual: Pruned) -> None:
    """Replaces the target with a decoupled Linear or layer of experts, each pathway pruned.

    Experts that see only one modality already are a pathway of their own, and stay in place.
    """
    if isinstance(target, nn.Linear):
        model.set_submodule(name, DecoupledLinear(target, text, visual))
    elif isinstance(target, ExpertWeight) and target.layer.modality:
        _apply_pruning(target, text if target.layer.modality == "text" else visual)
    elif isinstance(target, ExpertWeight):
        layer = target.layer
        if model.get_submodule(layer.name) is layer.module:
            model.set_submodule(layer.name, DecoupledExperts(layer.module))
        decoupled: Any = model.get_submodule(layer.name)
        for module, pruned in ((decoupled.text, text), (decoupled.visual, visual)):
            _apply_pruning(ExpertWeight(replace(layer, module=module), target.parameter, target.expert), pruned)


def _apply_pruning(target: Target, pruned: Pruned) -> None:
    target.weight.data.copy_(pruned.applied_to(target.weight.data))
