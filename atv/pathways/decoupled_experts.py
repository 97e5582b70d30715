"""A layer of experts with one set of weights for text tokens and one for visual tokens."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from atv.criteria import Pruned
from atv.model.experts import ExpertWeight
from atv.model.targets import Target
from atv.pathways.linear import DecoupledLinear
from atv.pathways.routing import current_modalities


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
