"""What training adds to the pretrained halves: low-rank factors, merged with the same bits on every machine."""

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
    """All that training changed, by the names that LLaVA's parameters have.

    Attributes:
        factors: of Linears, by the module's name; a half without any stays as it was.
        whole: parameters that are replaced (the projector's), bfloat16 or float32.
        scale: of every product of factors.
        base: digest of each half that they were trained on, as ``base_digests`` gives them.
        merged: digest of the model that merging gives; None where nobody has noted it.
        recipe: how they were trained, for people.
    """

    factors: Mapping[str, Factors]
    whole: Mapping[str, Tensor]
    scale: float
    base: Mapping[str, str]
    merged: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)


def base_digests(model: nn.Module) -> dict[str, str]:
    """The digests of the two halves of an untrained model, ``<image>``'s row of the embeddings with them."""
    return {"language": model_digest(model, LANGUAGE_PREFIX), "vision": model_digest(model, VISION_PREFIX)}


@torch.no_grad()
def merge(model: nn.Module, updates: Updates) -> None:
    """Puts the updates into an untrained model, in place.

    Raises:
        ValueError: for another base than they were trained on, a parameter that the model has not or in another shape,
            values that are not finite, or a result of another digest than noted; the message names which.
    """
    base = base_digests(model)
    for half, digest in updates.base.items():
        if base[half] != digest:
            raise ValueError(
                f"updates: trained on another {half} half (digest {digest[:12]}) than this one (digest "
                f"{base[half][:12]}); leave them out and train your own"
            )
    for name, factors in updates.factors.items():
        weight = _parameter(model, f"{name}.weight", (factors.up.shape[0], factors.down.shape[1]))
        weight.copy_(merged_weight(weight, factors, updates.scale))
    for name, value in updates.whole.items():
        _parameter(model, name, tuple(_finite(value, name).shape)).copy_(value)
    if updates.merged and (got := model_digest(model)) != updates.merged:
        raise ValueError(f"updates: merging gave a model of digest {got[:12]} in place of {updates.merged[:12]}")


def merged_weight(weight: Tensor, factors: Factors, scale: float) -> Tensor:
    """``weight + scale * up @ down``, (out, in), in float64, rounded once to float32: equal bits on every machine.

    One rank after the other is added, so each entry's sum has one order, whatever the number of threads. A product of
    two bfloat16 numbers has 16 significant bits and is exact in float64, so it does not matter either whether a
    machine rounds before it adds.

    Raises:
        ValueError: for factors that are not bfloat16, or of which one is not finite.
    """
    if factors.down.dtype != torch.bfloat16 or factors.up.dtype != torch.bfloat16:
        raise ValueError(f"updates: factors are {factors.down.dtype} and {factors.up.dtype}, not bfloat16")
    down, up = (_finite(part, "factors").cpu().double() for part in (factors.down, factors.up))
    change = torch.zeros(up.shape[0], down.shape[1], dtype=torch.float64)
    for rank in range(len(down)):
        change.addcmul_(up[:, rank, None], down[rank])
    # Two steps, so that no machine takes them at once with one rounding less.
    change.mul_(scale)
    return change.add_(weight.cpu().double()).float()


def write_updates(updates: Updates, file: Path) -> None:
    """Writes one safetensors file atomically."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in updates.whole.items()}
    for name, factors in updates.factors.items():
        tensors[name + _DOWN] = factors.down.detach().cpu().contiguous()
        tensors[name + _UP] = factors.up.detach().cpu().contiguous()
    about = {"format": FORMAT, "scale": repr(updates.scale), "base": json.dumps(dict(updates.base))}
    about |= {"merged": updates.merged or "", "recipe": json.dumps(dict(updates.recipe))}
    with atomic(file) as temporary:
        save_file(tensors, temporary, metadata=about)


def read_updates(file: Path) -> Updates:
    """Reads what ``write_updates`` wrote.

    Raises:
        ValueError: for no such file, one that is not safetensors, or of another format.
    """
    if not file.is_file():
        raise ValueError(f"updates: no file {str(file)!r}; those of atv lie in a checkout of it, not in a wheel")
    try:
        with safe_open(file, framework="pt") as opened:
            about = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"updates: {str(file)!r} is damaged or not safetensors: {error}") from error
    if about.get("format") != FORMAT:
        raise ValueError(f"updates: {str(file)!r} is of format {about.get('format')}; this version reads {FORMAT}")
    linears = [name.removesuffix(_DOWN) for name in tensors if name.endswith(_DOWN)]
    factors = {name: Factors(tensors.pop(name + _DOWN), tensors.pop(name + _UP)) for name in linears}
    scale, base, recipe = (json.loads(about[key]) for key in ("scale", "base", "recipe"))
    return Updates(factors, tensors, scale, base, about["merged"] or None, recipe)


def _parameter(model: nn.Module, name: str, shape: tuple[int, ...]) -> nn.Parameter:
    try:
        parameter = model.get_parameter(name)
    except AttributeError as error:
        raise ValueError(f"updates: the model has no {name}") from error
    if tuple(parameter.shape) != shape:
        raise ValueError(f"updates: {name} is {shape}; the model's is {tuple(parameter.shape)}")
    return parameter


def _finite(value: Tensor, name: str) -> Tensor:
    if not value.isfinite().all():
        raise ValueError(f"updates: {name} holds values that are not finite")
    return value
