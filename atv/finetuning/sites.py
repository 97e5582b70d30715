"""The parameters of a pruned model that its masks apply to."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from atv.model.lvlm import LVLM, kept_places, targets_by_parameter
from atv.model.targets import Target


@dataclass(frozen=True, eq=False)
class Site:
    """A parameter with pruned entries: a Linear's weight, or one kind of weight of all fused experts.

    ``mask`` is a bool tensor of the parameter's shape, True = kept.
    """

    name: str
    module: nn.Module
    parameter: str
    mask: Tensor

    @property
    def weight(self) -> Tensor:
        """The weight that the model computes with, detached."""
        return getattr(self.module, self.parameter).detach()


def pruned_sites(lvlm: LVLM, masks: Mapping[str, Tensor]) -> list[Site]:
    """Returns the parameters that ``masks`` apply to, each once.

    Raises:
        ValueError: if a mask names no Linear or expert of this model, or has a different shape.
    """
    for name, mask in masks.items():
        _check_mask(name, mask, lvlm.prunable.get(name))
    views = targets_by_parameter(lvlm)
    parameters = {target: parameter for parameter, targets in views.items() for target in targets}
    sites = []
    # In the masks' order.
    for name in dict.fromkeys(parameters[target] for target in masks):
        path, _, parameter = name.rpartition(".")
        module = lvlm.model.get_submodule(path)
        kept = kept_places(getattr(module, parameter), views[name], masks)
        sites.append(Site(name, module, parameter, kept))
    return sites


def still_zero(sites: list[Site]) -> None:
    """Checks that all pruned weights are zero.

    Raises:
        ValueError: if not; the message names the first parameter with a pruned weight that is not zero.
    """
    for site in sites:
        if site.weight[~site.mask.to(site.weight.device)].any():
            raise ValueError(
                f"{site.name}: weights that the masks prune are not zero; check that masks and model belong together"
            )


def _check_mask(name: str, mask: Tensor, target: Target | None) -> None:
    if target is None:
        raise ValueError(f"folder: its masks name {name!r}, which is not a Linear or expert of its model's decoder")
    if mask.shape != target.weight.shape:
        shapes = f"{tuple(mask.shape)}, the weight {tuple(target.weight.shape)}"
        raise ValueError(f"folder: the mask of {name!r} has shape {shapes}")
