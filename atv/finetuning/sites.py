"""Which parameters of a pruned model its masks are about."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from atv.model.experts import ExpertWeight
from atv.model.lvlm import LVLM
from atv.model.targets import Target


@dataclass(frozen=True, eq=False)
class Site:
    """A parameter of which some entries were pruned: a Linear's weight, or one kind of weight of all fused experts.

    ``kept`` is bool of the parameter's own shape, True = kept.
    """

    name: str
    module: nn.Module
    parameter: str
    kept: Tensor

    @property
    def weight(self) -> Tensor:
        """What the model computes with, detached."""
        return getattr(self.module, self.parameter).detach()


def pruned_sites(lvlm: LVLM, masks: Mapping[str, Tensor]) -> list[Site]:
    """The parameters that ``masks`` name, each once.

    Raises:
        ValueError: for a mask of no Linear or expert of this model, or one of another shape.
    """
    sites: dict[str, Site] = {}
    for name, mask in masks.items():
        target = lvlm.prunable.get(name)
        _check(name, mask, target)
        if isinstance(target, ExpertWeight):
            stack = _stack(target)
            slices = sites.setdefault(stack.name, stack).kept
            slices[target.expert] = mask.mT if target.layer.transposed else mask
        elif isinstance(target, nn.Linear):
            sites[name] = Site(f"{name}.weight", target, "weight", mask)
    return list(sites.values())


def still_zero(sites: list[Site]) -> None:
    """Checks that all pruned weights are zero.

    Raises:
        ValueError: naming the first parameter where one is not.
    """
    for site in sites:
        if site.weight[~site.kept.to(site.weight.device)].any():
            raise ValueError(
                f"{site.name}: weights that the masks prune are not zero; do masks and model belong together?"
            )


def _check(name: str, mask: Tensor, target: Target | None) -> None:
    if target is None:
        raise ValueError(f"folder: its masks name {name!r}, which is no Linear or expert of its model's decoder")
    if mask.shape != target.weight.shape:
        shapes = f"{tuple(mask.shape)}, the weight {tuple(target.weight.shape)}"
        raise ValueError(f"folder: the mask of {name!r} has the shape {shapes}")


def _stack(target: ExpertWeight) -> Site:
    """The fused parameter of an expert, all of it kept so far."""
    module, parameter = target.layer.module, target.parameter
    kept = torch.ones(getattr(module, parameter).shape, dtype=torch.bool)
    return Site(f"{target.layer.name}.{parameter}", module, parameter, kept)
