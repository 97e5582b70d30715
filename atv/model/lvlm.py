"""What this project needs to know about any LVLM: its blocks, visual tokens and prunable weights."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from atv.model.checkpoint import require_floats
from atv.model.decoder import PIXELS, VISUAL_MASK, decoder_blocks, reads_tokens, steers, visual_token_ids
from atv.model.experts import ROUTERS, FusedExperts, expert_name
from atv.model.targets import Target

View = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LVLM:
    """A vision-language model with its decoder blocks and the ids of visual tokens.

    ``visual_ids`` is empty if no id marks them: Kosmos-2's processor returns a mask instead, and Mllama's visual tokens
    never enter the decoder, so all of its tokens are text.

    Raises:
        ValueError: if ``of`` is given a model that is not a decoder-only LVLM; the message names it and says why.
    """

    model: PreTrainedModel
    blocks: nn.ModuleList
    blocks_name: str
    visual_ids: tuple[int, ...]

    @classmethod
    def of(cls, model: PreTrainedModel) -> "LVLM":
        """Finds the blocks through ``model.get_decoder()`` and the visual token ids in the config."""
        require_floats(model)
        blocks, ids = decoder_blocks(model), visual_token_ids(model)
        name = next(name for name, module in model.named_modules() if module is blocks)
        return cls(model, blocks, name, ids)

    def visual(self, inputs: Mapping[str, Any]) -> Tensor:
        """Returns which positions hold visual tokens: bool (batch, length)."""
        ids, mask = inputs["input_ids"], inputs.get(VISUAL_MASK)
        if mask is not None:
            return mask.bool()
        return torch.isin(ids, torch.tensor(self.visual_ids, dtype=ids.dtype, device=ids.device))

    @staticmethod
    def valid(inputs: Mapping[str, Any]) -> Tensor:
        """Returns which positions are not padding: bool (batch, length)."""
        mask = inputs.get("attention_mask")
        return torch.ones_like(inputs["input_ids"], dtype=torch.bool) if mask is None else mask.bool()

    @staticmethod
    def brings_pixels(inputs: Mapping[str, Any]) -> bool:
        """Whether these inputs include a picture or clip."""
        return any(value is not None for key, value in inputs.items() if key.startswith(PIXELS))

    def _block_modules(self) -> Iterator[tuple[str, nn.Module]]:
        return self.blocks.named_modules(prefix=self.blocks_name)

    @cached_property
    def linears(self) -> dict[str, nn.Linear]:
        """Full name -> Linear, for every Linear of the blocks that reads the decoder's tokens and steers none of them.

        Steering modules are routers, Linears that choose the tokens to attend to, and those that mix residual streams.
        """
        return {
            name: module
            for name, module in self._block_modules()
            if isinstance(module, nn.Linear)
            and reads_tokens(name)
            and not steers(name)
            and not any(f"{name}.".startswith(f"{router}.") for router in self.routers)
        }

    @cached_property
    def experts(self) -> list[FusedExperts]:
        """The layers of experts in the decoder blocks."""
        layers = (FusedExperts.of(name, module) for name, module in self._block_modules())
        return [experts for experts in layers if experts is not None]

    @cached_property
    def routers(self) -> list[str]:
        """Names of the modules that route tokens to experts; they stay dense: wrong routes cost more than they save."""
        candidates = (f"{layer.name.rpartition('.')[0]}.{router}" for layer in self.experts for router in ROUTERS)
        modules = dict(self.model.named_modules())
        return [name for name in candidates if name in modules]

    @property
    def steering(self) -> list[str]:
        """Names of routers, and of Linears that choose the tokens to attend to or mix residual streams."""
        linears = (name for name, module in self._block_modules() if isinstance(module, nn.Linear))
        return [*self.routers, *filter(steers, linears)]

    @cached_property
    def left_dense(self) -> dict[str, str]:
        """Parameter -> class of its module, for all parameters of the blocks, norms excepted, that stay dense."""
        pruned = {(linear, name) for linear in self.linears.values() for name, _ in linear.named_parameters()}
        pruned |= {(layer.module, parameter) for layer in self.experts for parameter in layer.parameters}
        return {
            f"{name}.{parameter}": type(module).__name__
            for name, module in self._block_modules()
            if "norm" not in type(module).__name__.lower()
            for parameter, _ in module.named_parameters(recurse=False)
            if (module, parameter) not in pruned
        }

    @cached_property
    def prunable(self) -> dict[str, Target]:
        """Full name -> target, for every Linear and every expert's weight that can be pruned."""
        experts = (layer.targets() for layer in self.experts)
        return {**self.linears, **{name: target for targets in experts for name, target in targets.items()}}

    def targets(self, names: Sequence[str] | str | None) -> dict[str, Target]:
        """Returns what to prune: every Linear and expert of the decoder, or those that match a shell-style pattern.

        Raises:
            ValueError: if there is no pattern, or one matches nothing, or only weights that stay dense.
        """
        if names is None:
            return dict(self.prunable)
        if not (patterns := name_patterns(names)):
            raise ValueError(f"targets: expected at least one name or shell pattern, got {names!r}")
        for pattern in patterns:
            if not any(matches(name, pattern) for name in self.prunable):
                endings = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in self.prunable}))
                steering = [name for name in self.steering if matches(name, pattern)]
                hint = f"{steering[0]} steers tokens and stays dense" if steering else f"its Linears end in {endings}"
                raise ValueError(f"targets: {pattern!r} matches no Linear of the decoder; {hint}")
        return {name: target for name, target in self.prunable.items() if any(matches(name, p) for p in patterns)}

    def block_of(self, name: str) -> int:
        """Returns the index of the block that holds the target called ``name``."""
        return int(name[len(self.blocks_name) + 1 :].split(".", 1)[0])

    def by_block(self, targets: Mapping[str, Target]) -> list[dict[str, Target]]:
        """Returns the targets of every block, in order."""
        block_targets: list[dict[str, Target]] = [{} for _ in self.blocks]
        for name, target in targets.items():
            block_targets[self.block_of(name)][name] = target
        return block_targets


def name_patterns(names: Sequence[str] | str) -> tuple[str, ...]:
    """Returns names or shell-style patterns, given as a list or as comma-separated text.

    >>> name_patterns("q_proj, *.mlp.*"), name_patterns("[*.mlp.*]"), name_patterns(["q_proj"])
    (('q_proj', '*.mlp.*'), ('*.mlp.*',), ('q_proj',))
    """
    if not isinstance(names, str):
        return tuple(names)
    # YAML does not read [*.mlp.*], a list of patterns without quotes, so it arrives as text.
    text = names[1:-1] if names.startswith("[") and names.endswith("]") else names
    return tuple(pattern for item in text.split(",") if (pattern := item.strip()))


def matches(name: str, pattern: str) -> bool:
    """Whether a shell-style pattern matches a weight's full name, or the part of it after any dot."""
    return fnmatch(name, pattern) or fnmatch(name, f"*.{pattern}")


def targets_by_parameter(lvlm: LVLM) -> dict[str, Mapping[str, View]]:
    """Returns parameter -> target -> function that views the parameter's values as the target's weight (out, in).

    A Linear's weight holds one target, a fused parameter one per expert.
    """
    views: dict[str, Mapping[str, View]] = {f"{name}.weight": {name: _whole_weight} for name in lvlm.linears}
    for layer in lvlm.experts:
        for parameter in layer.parameters:
            site = f"{layer.name}.{parameter}"
            experts = range(layer.count)
            views[site] = {expert_name(site, expert): partial(layer.slice, expert=expert) for expert in experts}
    return views


def kept_places(values: Tensor, views: Mapping[str, View], masks: Mapping[str, Tensor]) -> Tensor:
    """Returns where masks keep a parameter's values: bool, of its shape, False where a target's mask prunes."""
    kept_mask = torch.ones_like(values, dtype=torch.bool)
    for target, view in views.items():
        if target in masks:
            view(kept_mask).copy_(masks[target])
    return kept_mask


def _whole_weight(weight: Tensor) -> Tensor:
    """The view of a parameter that holds a single target."""
    return weight
