"""Digests that identify a run's data, its model and its masks."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import gcd
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# About this many values are read per parameter: a 70 B model takes seconds, and further training changes all values.
_PROBES = 1024
# Fields that say where and by which release a model was saved; they do not affect its answers.
_ORIGIN = frozenset(
    {"_name_or_path", "name_or_path", "_commit_hash", "_from_model_config", "architectures", "transformers_version"}
)


def tensors_digest(batches: Iterable[Mapping[str, Any]]) -> str:
    """Digests every tensor of every batch, at any depth of mappings and sequences, to 16 hexadecimal digits.

    The dtype counts for nested tensors only: the names of finished cells depend on digests without the dtypes of the
    others.
    """
    state = hashlib.blake2b(digest_size=8)
    for batch in batches:
        for key in sorted(batch):
            for name, tensor in _tensors(key, batch[key]):
                dtype = "" if tensor is batch[key] else tensor.dtype
                state.update(f"{name}{tuple(tensor.shape)}{dtype}".encode() + _bytes(tensor))
    return state.hexdigest()


def weights_digest(weights: Iterable[tuple[str, Tensor]]) -> str:
    """Digests every weight's name, shape and dtype, and some of its values, to 16 hexadecimal digits.

    If a weight has fewer than 2048 values, all are read; otherwise some 1,000 to 1,700 are, spread evenly over rows and
    columns.
    """
    state = hashlib.blake2b(digest_size=8)
    for name, weight in weights:
        state.update(f"{name}{tuple(weight.shape)}{weight.dtype}".encode())
        flat = weight.detach().reshape(-1)
        state.update(_bytes(flat[:: _stride(len(flat), weight.shape[-1] if weight.dim() > 1 else 1)]))
    return state.hexdigest()


def whole_digest(names: Iterable[str], tensor: Callable[[str], Tensor]) -> str:
    """Returns the SHA-256, in hexadecimal, of every tensor's name, dtype, shape and bytes, sorted by name.

    Tensors are read one at a time.
    """
    state = hashlib.sha256()
    for name in sorted(names):
        value = tensor(name).detach().cpu().contiguous()
        state.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        state.update(value.view(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def model_digest(model: nn.Module, prefix: str = "") -> str:
    """Returns the ``whole_digest`` of a model's parameters whose names begin with ``prefix``; tied ones count once."""
    weights = {name: weight for name, weight in model.named_parameters() if name.startswith(prefix)}
    return whole_digest(weights, weights.__getitem__)


def file_digest(file: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_digest(content: Any) -> str:
    """Digests any JSON content to 16 hexadecimal digits; other objects are replaced by their ``str``."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def without_origin(settings: Mapping[str, Any], excluded: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Returns settings without the keys of ``_ORIGIN`` at any depth, and without those of ``excluded`` at the top."""
    return {
        name: without_origin(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if name not in _ORIGIN | excluded
    }


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Yields the tensors in a nested value, each with its path."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _tensors(f"{name}.{key}", value[key])
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _tensors(f"{name}.{index}", item)


def _stride(count: int, width: int) -> int:
    """Returns the stride at which to read ``count`` values that lie in rows of ``width``.

    A long stride is a number of whole rows plus the golden section of one. It has no common divisor with the row's
    length; otherwise, all values read could come from the same column.
    """
    step = max(1, count // _PROBES)
    if step >= width > 1:
        step = (step // width - 1) * width + round(0.618 * width)
    while gcd(step, width) > 1:
        step += 1
    return step


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
