"""Which files hold a folder's weights, and what their headers say."""

import json
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

from atv.data.wording import short


def weight_files(folder: Path) -> list[Path]:
    """The files that are loaded; none where transformers must say itself what is missing."""
    whole, index = folder / "model.safetensors", folder / SAFE_WEIGHTS_INDEX_NAME
    if not index.is_file():
        return [whole] if whole.is_file() else []
    try:
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"model: {index} cannot be read: {short(error)}") from error
    for shard in shards:
        if ".." in Path(shard).parts or Path(shard).is_absolute():
            raise ValueError(f"model: {index} names {shard}, which lies outside of the model's folder")
        if not (folder / shard).is_file():
            raise ValueError(f"model: {index} names {shard}, which is not there; fetch it again")
    if whole.is_file() and shards != [whole.name]:
        raise ValueError(
            f"model: {str(folder)!r} holds two sets of weights, {whole.name} and what {index.name} names; take one away"
        )
    return [folder / shard for shard in shards]


def header(file: Path) -> list[tuple[str, str, int]]:
    """Name, dtype and count of numbers of every tensor.

    Raises:
        ValueError: for a file that is not whole.
    """
    try:
        with safe_open(file, "pt") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
            return [(name, part.get_dtype(), prod(part.get_shape())) for name, part in slices.items()]
    except SafetensorError as error:
        raise ValueError(
            f"model: {file} is no whole safetensors file ({short(error)}); a download cut short, or a Git LFS "
            "pointer? Fetch it again"
        ) from error
