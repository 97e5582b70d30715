"""Short digests by which a run recognises its data, its model and its masks."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import gcd
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# So many values of each parameter are read: a 70 B model takes seconds, and a model trained further differs everywhere.
_PROBES = 1024
# Where a model was saved, and by which release, moves no answer.
_ORIGIN = frozenset(
    {"_name_or_path", "name_or_path", "_commit_hash", "_from_model_config", "architectures", "transformers_version"}
)


def tensors_digest(batches: Iterable[Mapping[str, Any]]) -> str:
    """A digest of every tensor of every batch, at any depth of mappings and sequences: 16 hexadecimal digits.

    Of those further down the dtype counts, too; names of finished cells hold what became of the others.
    """
    state = hashlib.blake2b(digest_size=8)
    for batch in batches:
        for key in sorted(batch):
            for name, tensor in _tensors(key, batch[key]):
                dtype = "" if tensor is batch[key] else tensor.dtype
                state.update(f"{name}{tuple(tensor.shape)}{dtype}".encode() + _bytes(tensor))
    return state.hexdigest()


def weights_digest(weights: Iterable[tuple[str, Tensor]]) -> str:
    """A digest of every weight's name, shape and dtype, and of some values: 16 hexadecimal digits.

    Of fewer than 2048 values all are read, else some 1,000 to 1,700, spread evenly over rows and columns.
    """
    state = hashlib.blake2b(digest_size=8)
    for name, weight in weights:
        state.update(f"{name}{tuple(weight.shape)}{weight.dtype}".encode())
        flat = weight.detach().reshape(-1)
        state.update(_bytes(flat[:: _stride(len(flat), weight.shape[-1] if weight.dim() > 1 else 1)]))
    return state.hexdigest()


def whole_digest(names: Iterable[str], tensor: Callable[[str], Tensor]) -> str:
    """SHA-256, in hexadecimal, of every tensor's name, dtype, shape and bytes, in the names' order, one at a time."""
    state = hashlib.sha256()
    for name in sorted(names):
        value = tensor(name).detach().cpu().contiguous()
        state.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        state.update(value.view(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def model_digest(model: nn.Module, prefix: str = "") -> str:
    """``whole_digest`` of a model's parameters, or of those whose names begin with ``prefix``; tied ones count once."""
    weights = {name: weight for name, weight in model.named_parameters() if name.startswith(prefix)}
    return whole_digest(weights, weights.__getitem__)


def file_digest(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_digest(content: Any) -> str:
    """Of anything that JSON can hold; other objects count by how they are written. 16 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def telling(settings: Mapping[str, Any], without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Settings without where they come from, at any depth, and at the first without some more."""
    return {
        name: telling(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
        if name not in _ORIGIN | without
    }


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in a value, each with the way to it."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _tensors(f"{name}.{key}", value[key])
    elif isinstance(value, list | tuple):
        for place, one in enumerate(value):
            yield from _tensors(f"{name}.{place}", one)


def _stride(count: int, width: int) -> int:
    """Between the values that are read of ``count`` in rows of ``width``.

    It is whole rows and the golden section of one, and shares no divisor with a row: else all could be of one column.
    """
    step = max(1, count // _PROBES)
    if step >= width > 1:
        step = (step // width - 1) * width + round(0.618 * width)
    while gcd(step, width) > 1:
        step += 1
    return step


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
