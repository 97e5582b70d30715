"""Search for modules that can take channel scales: a norm or Linear whose outputs, divided by the scales, undo them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from atv.model.decoder import takes
from atv.model.hooks import first_output, watching
from atv.model.lvlm import LVLM


@dataclass(frozen=True)
class Feed:
    """A module that produces channels, and all Linears that read them (nothing else does), by their full names."""

    feeder: str
    readers: tuple[str, ...]

    def scale(self, model: nn.Module, scale: Tensor) -> list[str]:
        """Multiplies the readers' channels by ``scale`` (channels,) and divides the feeder's channels by it.

        Returns the names of the feeder's changed parameters.
        """
        module = model.get_submodule(self.feeder)
        changed = []
        for name, parameter in module.named_parameters(recurse=False):
            values, own = parameter.data, scale.to(parameter.device)
            values.copy_(values.float() / (own[:, None] if values.dim() == 2 else own))
            changed.append(f"{self.feeder}.{name}")
        for reader in self.readers:
            weight = model.get_parameter(f"{reader}.weight").data
            weight.copy_(weight.float() * scale.to(weight.device))
        return changed


@torch.no_grad()
def feeds(lvlm: LVLM, targets: Mapping[str, nn.Linear], inputs: Mapping[str, Any]) -> list[list[Feed]]:
    """Returns the feeds of every block, in order, which are found by trial.

    With channels scaled by powers of two, the last block's output must stay the same, bit for bit. Powers of two cause
    no rounding, since float16 tensors are tried in bfloat16.

    Args:
        targets: Linears that may be readers or feeders.
        inputs: a batch on the model's device.
    """
    with _without_float16(lvlm.model):
        return _tried(lvlm, targets, tree_map_only(Tensor, _wide, inputs))


def _tried(lvlm: LVLM, targets: Mapping[str, nn.Linear], inputs: Mapping[str, Any]) -> list[list[Feed]]:
    found: list[list[Feed]] = [[] for _ in lvlm.blocks]
    expected = _outcome(lvlm, inputs)
    for readers, blocks in _readers(lvlm, targets, inputs).items():
        for feeder in _candidates(lvlm, targets, blocks[0], readers):
            tried = [_named(lvlm, block, feeder, readers) for block in blocks]
            if all(_exists(lvlm.model, feed.feeder) for feed in tried) and _same(lvlm, tried, inputs, expected):
                for block, feed in zip(blocks, tried, strict=True):
                    found[block].append(feed)
                break
    return found


@contextmanager
def _without_float16(model: nn.Module) -> Iterator[None]:
    """Converts the model's float16 tensors to bfloat16 within the context.

    Scaling by a power of two rounds the smallest float16 numbers (below 6e-5), which weights and activations reach.
    """
    tensors = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.dtype == torch.float16]
    # On the CPU, since the device may have no room for a second copy of the model.
    kept = [tensor.data.cpu() for tensor in tensors]
    try:
        for tensor in tensors:
            tensor.data = _wide(tensor.data)
        yield
    finally:
        for tensor, values in zip(tensors, kept, strict=True):
            tensor.data = values.to(tensor.device)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.bfloat16() if tensor.dtype == torch.float16 else tensor


def _readers(
    lvlm: LVLM, targets: Mapping[str, nn.Linear], inputs: Mapping[str, Any]
) -> dict[tuple[str, ...], list[int]]:
    """Maps groups of targets that read the same tensor, by their names within a block, to the blocks where they do."""
    read: dict[str, Tensor] = {}
    with watching(targets, lambda name, values, _: read.update({name: values})):
        _outcome(lvlm, inputs)
    together: dict[tuple[int, int], list[str]] = {}
    for name, values in read.items():
        together.setdefault((lvlm.block_of(name), values.data_ptr()), []).append(name)
    kinds: dict[tuple[str, ...], list[int]] = {}
    for (block, _), names in together.items():
        prefix = f"{lvlm.blocks_name}.{block}."
        kinds.setdefault(tuple(name.removeprefix(prefix) for name in names), []).append(block)
    return kinds


def _candidates(lvlm: LVLM, targets: Mapping[str, nn.Linear], block: int, readers: tuple[str, ...]) -> Iterator[str]:
    """Yields the modules of a block with as many outputs as the readers have inputs: norms, then Linears."""
    prefix = f"{lvlm.blocks_name}.{block}."
    width = targets[prefix + readers[0]].in_features
    for name, module in lvlm.blocks[block].named_modules():
        weight = getattr(module, "weight", None)
        if "norm" in type(module).__name__.lower() and weight is not None and tuple(weight.shape) == (width,):
            yield name
    for name, target in targets.items():
        local = name.removeprefix(prefix)
        if name.startswith(prefix) and target.out_features == width and local not in readers:
            yield local


def _same(lvlm: LVLM, tried: list[Feed], inputs: Mapping[str, Any], expected: Tensor) -> bool:
    """Returns whether the model computes the same with all of these feeds scaled; restores its weights afterwards."""
    modules = {name for feed in tried for name in (feed.feeder, *feed.readers)}
    kept = {
        name: parameter.data.clone()
        for name, parameter in lvlm.model.named_parameters()
        if name.rpartition(".")[0] in modules
    }
    try:
        for number, feed in enumerate(tried):
            width = lvlm.linears[feed.readers[0]].in_features
            feed.scale(
                lvlm.model, 2.0 ** torch.randint(-2, 3, (width,), generator=torch.Generator().manual_seed(number))
            )
        return torch.equal(_outcome(lvlm, inputs), expected)
    finally:
        for name, values in kept.items():
            lvlm.model.get_parameter(name).data.copy_(values)


def _named(lvlm: LVLM, block: int, feeder: str, readers: tuple[str, ...]) -> Feed:
    prefix = f"{lvlm.blocks_name}.{block}."
    return Feed(prefix + feeder, tuple(prefix + reader for reader in readers))


def _exists(model: nn.Module, name: str) -> bool:
    parent, _, own = name.rpartition(".")
    return own in dict(model.get_submodule(parent).named_children())


def _outcome(lvlm: LVLM, inputs: Mapping[str, Any]) -> Tensor:
    """Returns the last block's output (batch, length, hidden), since logits would be many times as large."""
    seen: list[Any] = []
    few = {"logits_to_keep": 1} if takes(lvlm.model, "logits_to_keep") else {}
    with lvlm.blocks[-1].register_forward_hook(lambda module, args, output: seen.append(output)):
        lvlm.model(**inputs, **few, use_cache=False)
    return first_output(seen[0])
