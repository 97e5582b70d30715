"""Which targets lie in which parameter of a model, and how to see each of them there."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from atv.model.experts import expert_name
from atv.model.lvlm import LVLM

View = Callable[[Tensor], Tensor]


def targets_by_parameter(lvlm: LVLM) -> dict[str, Mapping[str, View]]:
    """Parameter -> target -> what makes the target's weight (out, in), a view, of the parameter's values.

    A Linear's weight holds one target, a fused parameter one an expert.
    """
    views: dict[str, Mapping[str, View]] = {f"{name}.weight": {name: _whole} for name in lvlm.linears}
    for layer in lvlm.experts:
        for parameter in layer.parameters:
            site = f"{layer.name}.{parameter}"
            experts = range(layer.count)
            views[site] = {expert_name(site, expert): partial(layer.slice, expert=expert) for expert in experts}
    return views


def _whole(weight: Tensor) -> Tensor:
    return weight
