"""One digest of all weights of a model, equal on every machine that has the same bits."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from atv.records.digests import whole_digest


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hexadecimal, of every tensor's name, dtype, shape and bytes, in the names' order."""
    return whole_digest(tensors, tensors.__getitem__)


def model_digest(model: nn.Module, prefix: str = "") -> str:
    """The digest of a model's parameters, or of those whose names begin with ``prefix``; tied ones count once."""
    return tensors_digest({name: weight for name, weight in model.named_parameters() if name.startswith(prefix)})


def file_digest(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
