"""Search for modules that can take channel scales: a norm or Linear whose outputs, divided by the scales, undo them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from atv.model.decoder import forward_takes
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
        changed_names = []
        for name, parameter in module.named_parameters(recurse=False):
            values, device_scale = parameter.data, scale.to(parameter.device)
            values.copy_(values.float() / (device_scale[:, None] if values.dim() == 2 else device_scale))
            changed_names.append(f"{self.feeder}.{name}")
        for reader in self.readers:
            weight = model.get_parameter(f"{reader}.weight").data
            weight.copy_(weight.float() * scale.to(weight.device))
        return changed_names


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
        return _search_feeds(lvlm, targets, tree_map_only(Tensor, _bfloat16_if_float16, inputs))


def _search_feeds(lvlm: LVLM, targets: Mapping[str, nn.Linear], inputs: Mapping[str, Any]) -> list[list[Feed]]:
    feeds_by_block: list[list[Feed]] = [[] for _ in lvlm.blocks]
    expected = _last_block_output(lvlm, inputs)
    for readers, blocks in _reader_groups(lvlm, targets, inputs).items():
        for feeder in _feeder_candidates(lvlm, targets, blocks[0], readers):
            candidates = [_feed_in_block(lvlm, block, feeder, readers) for block in blocks]
            if all(_module_exists(lvlm.model, feed.feeder) for feed in candidates) and _computes_the_same(
                lvlm, candidates, inputs, expected
            ):
                for block, feed in zip(blocks, candidates, strict=True):
                    feeds_by_block[block].append(feed)
                break
    return feeds_by_block


@contextmanager
def _without_float16(model: nn.Module) -> Iterator[None]:
    """Converts the model's float16 tensors to bfloat16 within the context.

    Scaling by a power of two rounds the smallest float16 numbers (below 6e-5), which weights and activations reach.
    """
    tensors = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.dtype == torch.float16]
    # On the CPU, since the device may have no room for a second copy of the model.
    saved_values = [tensor.data.cpu() for tensor in tensors]
    try:
        for tensor in tensors:
            tensor.data = _bfloat16_if_float16(tensor.data)
        yield
    finally:
        for tensor, values in zip(tensors, saved_values, strict=True):
            tensor.data = values.to(tensor.device)


def _bfloat16_if_float16(tensor: Tensor) -> Tensor:
    return tensor.bfloat16() if tensor.dtype == torch.float16 else tensor


def _reader_groups(
    lvlm: LVLM, targets: Mapping[str, nn.Linear], inputs: Mapping[str, Any]
) -> dict[tuple[str, ...], list[int]]:
    """Maps groups of targets that read the same tensor, by their names within a block, to the blocks where they do."""
    input_of: dict[str, Tensor] = {}
    with watching(targets, lambda name, values, _: input_of.update({name: values})):
        _last_block_output(lvlm, inputs)
    readers_of_tensor: dict[tuple[int, int], list[str]] = {}
    for name, values in input_of.items():
        readers_of_tensor.setdefault((lvlm.block_of(name), values.data_ptr()), []).append(name)
    blocks_of_readers: dict[tuple[str, ...], list[int]] = {}
    for (block, _), names in readers_of_tensor.items():
        prefix = f"{lvlm.blocks_name}.{block}."
        blocks_of_readers.setdefault(tuple(name.removeprefix(prefix) for name in names), []).append(block)
    return blocks_of_readers


def _feeder_candidates(
    lvlm: LVLM, targets: Mapping[str, nn.Linear], block: int, readers: tuple[str, ...]
) -> Iterator[str]:
    """Yields the modules of a block with as many outputs as the readers have inputs: norms, then Linears."""
    prefix = f"{lvlm.blocks_name}.{block}."
    width = targets[prefix + readers[0]].in_features
    for name, module in lvlm.blocks[block].named_modules():
        weight = getattr(module, "weight", None)
        if "norm" in type(module).__name__.lower() and weight is not None and tuple(weight.shape) == (width,):
            yield name
    for name, target in targets.items():
        local_name = name.removeprefix(prefix)
        if name.startswith(prefix) and target.out_features == width and local_name not in readers:
            yield local_name


def _computes_the_same(lvlm: LVLM, scaled_feeds: list[Feed], inputs: Mapping[str, Any], expected: Tensor) -> bool:
    """Returns whether the model computes the same with all of these feeds scaled; restores its weights afterwards."""
    modules = {name for feed in scaled_feeds for name in (feed.feeder, *feed.readers)}
    saved_values = {
        name: parameter.data.clone()
        for name, parameter in lvlm.model.named_parameters()
        if name.rpartition(".")[0] in modules
    }
    try:
        for index, feed in enumerate(scaled_feeds):
            width = lvlm.linears[feed.readers[0]].in_features
            feed.scale(
                lvlm.model, 2.0 ** torch.randint(-2, 3, (width,), generator=torch.Generator().manual_seed(index))
            )
        return torch.equal(_last_block_output(lvlm, inputs), expected)
    finally:
        for name, values in saved_values.items():
            lvlm.model.get_parameter(name).data.copy_(values)


def _feed_in_block(lvlm: LVLM, block: int, feeder: str, readers: tuple[str, ...]) -> Feed:
    prefix = f"{lvlm.blocks_name}.{block}."
    return Feed(prefix + feeder, tuple(prefix + reader for reader in readers))


def _module_exists(model: nn.Module, name: str) -> bool:
    parent, _, child = name.rpartition(".")
    return child in dict(model.get_submodule(parent).named_children())


def _last_block_output(lvlm: LVLM, inputs: Mapping[str, Any]) -> Tensor:
    """Returns the last block's output (batch, length, hidden), since logits would be many times as large."""
    outputs: list[Any] = []
    options = {"logits_to_keep": 1} if forward_takes(lvlm.model, "logits_to_keep") else {}
    with lvlm.blocks[-1].register_forward_hook(lambda module, args, output: outputs.append(output)):
        lvlm.model(**inputs, **options, use_cache=False)
    return first_output(outputs[0])
