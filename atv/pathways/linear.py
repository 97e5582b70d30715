"""A Linear, or a layer of experts, with one weight for text tokens and one for visual tokens."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from atv.criteria import Pruned
from atv.model.experts import ExpertWeight
from atv.model.targets import Target
from atv.pathways.routing import current_modalities


class DecoupledLinear(nn.Module):
    """Replaces a Linear; both pathways start from its weight, each under its own mask (Mixture-of-Transformers).

    Each token is multiplied once, by its own modality's weight. Where both weights are equal they are one parameter
    and one product serves all tokens, as the ordinary Linear's does, bit for bit; so do forwards of text alone. Where
    they differ, a product over fewer rows may round otherwise: last bits move, as with another batch size.

    Args:
        linear: the dense Linear (in, out).
        text, visual: each pathway's mask, and its weight where the criterion updated what is kept.
    """

    def __init__(self, linear: nn.Linear, text: Pruned, visual: Pruned) -> None:
        super().__init__()
        weight, other = (pruned.applied_to(linear.weight.detach()) for pruned in (text, visual))
        self.text = nn.Parameter(weight, requires_grad=False)
        self.visual = self.text if torch.equal(weight, other) else nn.Parameter(other, requires_grad=False)
        self.bias = linear.bias

    @property
    def weight(self) -> Tensor:
        """Dtype and device, which some models ask of a Linear, and no numbers: shape (0,).

        Whoever computes with a weight past the module would use one pathway's for both, and gets an error.
        """
        return self.text.new_empty(0)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, in) -> (batch, length, out); batch and length may be one dimension (OPT, experts)."""
        modalities = current_modalities()
        if modalities is None or self.visual is self.text:
            return F.linear(x, self.text, self.bias)
        rows = x.reshape(-1, x.shape[-1])
        made = x.new_empty(len(rows), len(self.text))
        for weight, own in ((self.text, modalities.text_rows), (self.visual, modalities.visual_rows)):
            made.index_copy_(0, own, F.linear(rows.index_select(0, own), weight, self.bias))
        return made.view(*x.shape[:-1], -1)


class DecoupledExperts(nn.Module):
    """Replaces a layer of experts; both pathways start from its weights and share the router (as attention is shared).

    Where both modalities are present both products are computed and the token's own is taken, which is exact for any
    kernel: how a layer lays out its rows differs between types, so they are not taken apart.
    """

    def __init__(self, experts: nn.Module) -> None:
        super().__init__()
        self.text = experts
        config = getattr(experts, "config", None)
        self.visual = copy.deepcopy(experts, {id(config): config})

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Hidden states (rows, hidden), tokens laid flat, and how they are routed -> (rows, hidden).

        Raises:
            ValueError: when the rows are not all the forward's tokens, in order, once or once an expert.
        """
        modalities = current_modalities()
        text_product = self.text(hidden_states, *args, **kwargs)
        if modalities is None:
            return text_product
        visual = modalities.visual
        times, rest = divmod(len(text_product), visual.numel())
        if rest or not times:
            raise ValueError(f"decouple: experts were given {len(text_product)} rows for {visual.numel()} tokens")
        visual_rows = visual.flatten().repeat(times)[:, None]
        return torch.where(visual_rows, self.visual(hidden_states, *args, **kwargs), text_product)


def decouple_target(model: nn.Module, name: str, target: Target, text: Pruned, visual: Pruned) -> None:
    """Puts a decoupled Linear, or a decoupled layer of experts, in the target's place, each pathway pruned.

    Experts that see one modality alone are a pathway of their own already, and stay where they are.
    """
    if isinstance(target, nn.Linear):
        model.set_submodule(name, DecoupledLinear(target, text, visual))
    elif isinstance(target, ExpertWeight) and target.layer.modality:
        _apply(target, text if target.layer.modality == "text" else visual)
    elif isinstance(target, ExpertWeight):
        layer = target.layer
        if model.get_submodule(layer.name) is layer.module:
            model.set_submodule(layer.name, DecoupledExperts(layer.module))
        both: Any = model.get_submodule(layer.name)
        for module, pruned in ((both.text, text), (both.visual, visual)):
            _apply(ExpertWeight(replace(layer, module=module), target.parameter, target.expert), pruned)


def _apply(target: Target, pruned: Pruned) -> None:
    target.weight.data.copy_(pruned.applied_to(target.weight.data))
