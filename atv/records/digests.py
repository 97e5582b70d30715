"""Short digests by which a run recognises its data, its model and its masks."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
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
    """A digest of every tensor of every batch, in order: 16 hexadecimal digits."""
    state = hashlib.blake2b(digest_size=8)
    for batch in batches:
        for key in sorted(batch):
            if isinstance(batch[key], Tensor):
                state.update(f"{key}{tuple(batch[key].shape)}".encode() + _bytes(batch[key]))
    return state.hexdigest()


def weights_digest(weights: Iterable[tuple[str, Tensor]]) -> str:
    """A digest of every weight's name, shape and dtype, and values evenly spread over it: 16 hexadecimal digits."""
    state = hashlib.blake2b(digest_size=8)
    for name, weight in weights:
        state.update(f"{name}{tuple(weight.shape)}{weight.dtype}".encode())
        flat = weight.detach().reshape(-1)
        state.update(_bytes(flat[:: max(1, len(flat) // _PROBES)]))
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


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
