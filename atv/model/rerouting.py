"""Experts that get no token: in a running model, its routers choose among the others as if these alone were there."""

from typing import Any

import torch
from torch import Tensor, nn


def leave_out(router: Any, expert: int) -> None:
    """Lets a router, a module with a row of weights an expert, choose among all but this one and those left out before.

    Its rows for them stay where they are: while it runs it has the others' alone, and the indices that it gives are
    then made those of all experts again.
    """
    if not hasattr(router, "left_out"):
        router.left_out = set()
        router.register_forward_pre_hook(_narrow)
        router.register_forward_hook(_widen, always_call=True)
    router.left_out.add(expert)


def _staying(router: Any) -> Tensor:
    whole = getattr(router, "whole", None) or router._parameters
    weight = whole["weight"]
    return torch.tensor([row for row in range(len(weight)) if row not in router.left_out], device=weight.device)


def _narrow(router: Any, args: Any) -> None:
    stays = _staying(router)
    router.whole = dict(router._parameters)
    for name, value in router.whole.items():
        router._parameters[name] = None if value is None else nn.Parameter(value.detach()[stays], requires_grad=False)


def _widen(router: Any, args: Any, output: Any) -> Any:
    stays = _staying(router)
    router._parameters.update(router.whole)
    router.whole = None
    if output is None:
        return None
    return tuple(part if part.is_floating_point() else stays[part] for part in output)
