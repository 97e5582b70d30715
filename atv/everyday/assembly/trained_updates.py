"""The updates that training adds to the pretrained halves: low-rank factors that merge to the same bits everywhere."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from atv.everyday.assembly.joining import LANGUAGE_PREFIX, VISION_PREFIX
from atv.records.digests import model_digest
from atv.records.files import atomic

FORMAT = "1"
_DOWN, _UP = ".A", ".B"


@dataclass(frozen=True)
class Factors:
    """A low-rank update of one Linear: ``scale * up @ down`` is added to its weight (out, in).

    Attributes:
        down: bfloat16 (rank, in).
        up: bfloat16 (out, rank).
    """

    down: Tensor
    up: Tensor


@dataclass(frozen=True)
class Updates:
    """Everything that training changed, under the names of LLaVA's parameters.

    Attributes:
        factors: updates of Linears, by the module's name; a half without any does not change.
        replaced: parameters that are replaced (the projector's), bfloat16 or float32.
        scale: scale of every product of factors.
        base: digest of each half that the updates were trained on, as returned by ``base_digests``.
        merged: digest of the merged model; None if it was not recorded.
        recipe: how the updates were trained, for human readers.
    """

    factors: Mapping[str, Factors]
    replaced: Mapping[str, Tensor]
    scale: float
    base: Mapping[str, str]
    merged: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)


def base_digests(model: nn.Module) -> dict[str, str]:
    """Returns the digests of the two halves of an untrained model, including the embedding of ``<image>``."""
    return {"language": model_digest(model, LANGUAGE_PREFIX), "vision": model_digest(model, VISION_PREFIX)}


@torch.no_grad()
def merge(model: nn.Module, updates: Updates) -> None:
    """Merges the updates into an untrained model, in place.

    Raises:
        ValueError: if the updates were trained on different halves, a parameter is missing from the model or has a
            different shape, values are not finite, or the result's digest is not the recorded one; the message says
            which.
    """
    base = base_digests(model)
    for half, digest in updates.base.items():
        if base[half] != digest:
            raise ValueError(
                f"updates: trained on a different {half} half (digest {digest[:12]}) from this one (digest "
                f"{base[half][:12]}); omit them and train your own"
            )
    for name, factors in updates.factors.items():
        weight = _parameter(model, f"{name}.weight", (factors.up.shape[0], factors.down.shape[1]))
        weight.copy_(merged_weight(weight, factors, updates.scale))
    for name, value in updates.replaced.items():
        _parameter(model, name, tuple(_finite(value, name).shape)).copy_(value)
    if updates.merged and (merged_digest := model_digest(model)) != updates.merged:
        raise ValueError(f"updates: the merged model has digest {merged_digest[:12]}, expected {updates.merged[:12]}")


def merged_weight(weight: Tensor, factors: Factors, scale: float) -> Tensor:
    """Returns ``weight + scale * up @ down``, (out, in), with the same bits on every machine.

    The result is computed in float64 and rounded once to float32. The ranks are added one after the other, so each
    entry is summed in one order, whatever the number of threads. A product of two bfloat16 numbers has 16 significant
    bits and is exact in float64, so it does not matter whether a machine rounds before it adds.

    Raises:
        ValueError: if the factors are not bfloat16 or not finite.
    """
    if factors.down.dtype != torch.bfloat16 or factors.up.dtype != torch.bfloat16:
        raise ValueError(f"updates: factors are {factors.down.dtype} and {factors.up.dtype}, not bfloat16")
    down, up = (_finite(factor, "factors").cpu().double() for factor in (factors.down, factors.up))
    change = torch.zeros(up.shape[0], down.shape[1], dtype=torch.float64)
    for rank in range(len(down)):
        change.addcmul_(up[:, rank, None], down[rank])
    # In two steps, so that no machine fuses them and skips a rounding.
    change.mul_(scale)
    return change.add_(weight.cpu().double()).float()


def write_updates(updates: Updates, file: Path) -> None:
    """Writes the updates to one safetensors file, atomically."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in updates.replaced.items()}
    for name, factors in updates.factors.items():
        tensors[name + _DOWN] = factors.down.detach().cpu().contiguous()
        tensors[name + _UP] = factors.up.detach().cpu().contiguous()
    metadata = {"format": FORMAT, "scale": repr(updates.scale), "base": json.dumps(dict(updates.base))}
    metadata |= {"merged": updates.merged or "", "recipe": json.dumps(dict(updates.recipe))}
    with atomic(file) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def read_updates(file: Path) -> Updates:
    """Reads a file that ``write_updates`` wrote.

    Raises:
        ValueError: if the file is missing, is not safetensors, or has a different format.
    """
    if not file.is_file():
        raise ValueError(f"updates: no file {str(file)!r}; atv's own updates are in a checkout of it, not in its wheel")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"updates: {str(file)!r} is damaged or not safetensors: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"updates: {str(file)!r} has format {metadata.get('format')}; this version reads {FORMAT}")
    linears = [name.removesuffix(_DOWN) for name in tensors if name.endswith(_DOWN)]
    factors = {name: Factors(tensors.pop(name + _DOWN), tensors.pop(name + _UP)) for name in linears}
    scale, base, recipe = (json.loads(metadata[key]) for key in ("scale", "base", "recipe"))
    return Updates(factors, tensors, scale, base, metadata["merged"] or None, recipe)


def _parameter(model: nn.Module, name: str, shape: tuple[int, ...]) -> nn.Parameter:
    try:
        parameter = model.get_parameter(name)
    except AttributeError as error:
        raise ValueError(f"updates: the model has no {name}") from error
    if tuple(parameter.shape) != shape:
        raise ValueError(f"updates: {name} has shape {shape}, but the model's has {tuple(parameter.shape)}")
    return parameter


def _finite(value: Tensor, name: str) -> Tensor:
    if not value.isfinite().all():
        raise ValueError(f"updates: {name} holds values that are not finite")
    return value
