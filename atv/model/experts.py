"""Mixture-of-experts layers of transformers, and where each expert's weights are stored.

A layer holds all its experts in two 3-D parameters, one slice per expert: ``gate_up_proj`` (``up_proj`` if there is no
gate) and ``down_proj``. Most have the layout (expert, out, in), those of Aria, Llama 4 and GPT-OSS (expert, in, out).
"""

import inspect
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAST = "down_proj"
FIRST = ("gate_up_proj", "up_proj")
_MODALITIES: dict[str, Literal["text", "visual"]] = {".text_moe.experts": "text", ".vision_moe.experts": "visual"}
# Modules that route tokens, or weight a shared expert: small, and pruning them harms more than it saves.
ROUTERS = ("gate", "router", "shared_expert_gate")


@dataclass(frozen=True, eq=False)
class FusedExperts:
    """A layer of experts: the module, its full name, its first parameter, and the layout of its slices."""

    name: str
    module: Any
    first: str
    transposed: bool

    @classmethod
    def of(cls, name: str, module: nn.Module) -> "FusedExperts | None":
        """Returns None if a module has no experts, other stacks besides the two, or an unknown call signature."""
        stacks = {name for name, value in module._parameters.items() if value is not None and value.dim() == 3}
        first_parameter = next((parameter for parameter in FIRST if stacks == {parameter, LAST}), None)
        if first_parameter is None or len(_forward_arguments(module)) not in (1, 3):
            return None
        # If the class does not say: (E, hidden, 2 * inner) versus (E, 2 * inner, hidden).
        transposed_by_shape = getattr(module, first_parameter).shape[1] == getattr(module, LAST).shape[2]
        return cls(name, module, first_parameter, bool(getattr(module, "is_transposed", transposed_by_shape)))

    @property
    def count(self) -> int:
        """Number of experts."""
        return len(getattr(self.module, LAST))

    @property
    def parameters(self) -> tuple[str, str]:
        """The fused parameters that are pruned."""
        return self.first, LAST

    @property
    def modality(self) -> Literal["text", "visual"] | None:
        """The only modality that the layer sees; ERNIE 4.5 VL has layers for each, all other types for both."""
        return next((modality for ending, modality in _MODALITIES.items() if self.name.endswith(ending)), None)

    def weight(self, parameter: str, expert: int) -> Tensor:
        """Returns an expert's slice as (out, in), a view of the parameter."""
        return self.slice(getattr(self.module, parameter).detach(), expert)

    def slice(self, stack: Tensor, expert: int) -> Tensor:
        """Returns an expert's slice as (out, in), a view of current or former values of one of the parameters."""
        return stack[expert].mT if self.transposed else stack[expert]

    def project(self, parameter: str, x: Tensor, expert: int) -> Tensor:
        """Applies one of an expert's projections to its inputs: (n, in) -> (n, out)."""
        bias = getattr(self.module, f"{parameter}_bias", None)
        return F.linear(x, self.weight(parameter, expert), None if bias is None else bias[expert])

    def router(self, model: nn.Module) -> str | None:
        """Returns the full name of the sibling module that routes tokens to the experts, one weight row per expert."""
        modules, parent = dict(model.named_modules()), self.name.rpartition(".")[0]
        names = (f"{parent}.{name}" for name in ("gate", "router"))
        return next((name for name in names if len(getattr(modules.get(name), "weight", ())) == self.count), None)

    def targets(self) -> "dict[str, ExpertWeight]":
        """Returns name -> weight of every expert, such as ``...mlp.experts.3.gate_up_proj``."""
        return {
            expert_name(f"{self.name}.{parameter}", expert): ExpertWeight(self, parameter, expert)
            for expert in range(self.count)
            for parameter in self.parameters
        }


@dataclass(frozen=True, eq=False)
class ExpertWeight:
    """One expert's slice of a fused parameter, a ``Target``."""

    layer: FusedExperts
    parameter: str
    expert: int

    @property
    def weight(self) -> Tensor:
        """(out, in), a view of the parameter whatever the layout of its slices."""
        return self.layer.weight(self.parameter, self.expert)

    @property
    def in_features(self) -> int:
        return self.weight.shape[1]


def expert_name(site: str, expert: int) -> str:
    """``...experts.gate_up_proj``, 3 -> ``...experts.3.gate_up_proj``."""
    layer, parameter = site.rsplit(".", 1)
    return f"{layer}.{expert}.{parameter}"


def _forward_arguments(module: nn.Module) -> list[str]:
    return list(inspect.signature(type(module).forward).parameters)[1:]


def leave_out(router: Any, expert: int) -> None:
    """Makes a router (a module with one weight row per expert) ignore this expert and those left out before.

    The rows of ignored experts stay in place. While the router runs, it has only the rows of the others; afterwards,
    the indices that it returns are mapped back to those of all experts.
    """
    if not hasattr(router, "left_out"):
        router.left_out = set()
        router.register_forward_pre_hook(_narrow)
        router.register_forward_hook(_widen, always_call=True)
    router.left_out.add(expert)


def _remaining_rows(router: Any) -> Tensor:
    """Returns the indices of the experts that the router does not ignore."""
    parameters = getattr(router, "full_parameters", None) or router._parameters
    weight = parameters["weight"]
    return torch.tensor([row for row in range(len(weight)) if row not in router.left_out], device=weight.device)


def _narrow(router: Any, args: Any) -> None:
    """Runs before the router: takes the rows of ignored experts out of its parameters."""
    rows = _remaining_rows(router)
    router.full_parameters = dict(router._parameters)
    for name, value in router.full_parameters.items():
        router._parameters[name] = None if value is None else nn.Parameter(value.detach()[rows], requires_grad=False)


def _widen(router: Any, args: Any, output: Any) -> Any:
    """Runs after the router: restores its parameters, and returns its output with the indices of all experts."""
    rows = _remaining_rows(router)
    router._parameters.update(router.full_parameters)
    router.full_parameters = None
    if output is None:
        return None
    return tuple(tensor if tensor.is_floating_point() else rows[tensor] for tensor in output)
