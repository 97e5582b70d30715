"""Tells every decoupled Linear which tokens of the running forward are visual."""

import inspect
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from atv.model.decoder import cache_of
from atv.model.lvlm import LVLM

_OUTSIDE = object()
# Modalities, or None where every token is text. A context variable, not a module's attribute: while pathways are
# calibrated, forwards of several batches are under way at once, each in a greenlet with its own context.
_modalities: ContextVar[Any] = ContextVar("modalities", default=_OUTSIDE)


@dataclass(frozen=True)
class Modalities:
    """Which tokens of a forward are visual: bool (batch, length), some of them True."""

    visual: Tensor

    @cached_property
    def text_rows(self) -> Tensor:
        """Places of the text tokens among all, laid flat: int64 (tokens,)."""
        return (~self.visual).flatten().nonzero().squeeze(1)

    @cached_property
    def visual_rows(self) -> Tensor:
        """Places of the visual tokens, likewise."""
        return self.visual.flatten().nonzero().squeeze(1)


def current_modalities() -> Modalities | None:
    """The modalities of the running forward's tokens; None where all are text.

    Raises:
        RuntimeError: outside a forward of the whole model.
    """
    modalities = _modalities.get()
    if modalities is _OUTSIDE:
        raise RuntimeError("a decoupled Linear ran outside a forward of the LVLM, so no token has a modality")
    return modalities


def visual_mask(lvlm: LVLM, inputs: Mapping[str, Any]) -> Tensor | None:
    """Which of a forward's tokens are visual, or None for none of them.

    A forward that continues a cache without bringing pixels is all text, whatever ids were generated.

    Raises:
        ValueError: for inputs_embeds without input_ids, where modalities cannot be told.
    """
    if inputs.get("input_ids") is None:
        raise ValueError("decoupled pathways need input_ids: inputs_embeds alone do not tell visual tokens from text")
    cache = cache_of(inputs)
    continues = cache is not None and cache.get_seq_length() > 0
    if continues and not lvlm.brings_pixels(inputs):
        return None
    visual = lvlm.visual(inputs)
    return visual if visual.any() else None


def route(lvlm: LVLM) -> None:
    """Hooks the model so that each forward of it sets the visual mask, and clears it at the end."""

    config = lvlm.model.config
    parts = [config, *(getattr(config, name, None) for name in config.sub_configs)]
    drops_positions = any(getattr(part, "num_kv_shared_layers", 0) for part in parts)

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        named = inspect.signature(module.forward).bind_partial(*args).arguments
        visual = visual_mask(lvlm, named | kwargs)
        _modalities.set(None if visual is None else Modalities(visual))
        return args, _every_position(named, kwargs) if drops_positions else kwargs

    def leave(module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        _modalities.set(_OUTSIDE)

    lvlm.model.register_forward_pre_hook(enter, with_kwargs=True)
    lvlm.model.register_forward_hook(leave, always_call=True)


def _every_position(named: Mapping[str, Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments, with the positions to keep named one by one where the model would drop others on the way.

    Gemma 4's last blocks, where they share keys and values, are given only the last ``logits_to_keep`` positions if
    that is a number; a decoupled Linear could not tell whose they are.
    """
    kept, ids = kwargs.get("logits_to_keep"), {**named, **kwargs}["input_ids"]
    if not isinstance(kept, int) or not kept:
        return kwargs
    length = ids.shape[1]
    return kwargs | {"logits_to_keep": torch.arange(max(length - kept, 0), length, device=ids.device)}
