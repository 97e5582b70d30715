"""Finds the files that hold a folder's weights, and reads their headers."""

import json
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

from atv.data.wording import short


def weight_files(folder: Path) -> list[Path]:
    """Returns the files to load; empty if transformers itself must report what is missing."""
    single_file, index = folder / "model.safetensors", folder / SAFE_WEIGHTS_INDEX_NAME
    if not index.is_file():
        return [single_file] if single_file.is_file() else []
    try:
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"model: {index} cannot be read: {short(error)}") from error
    for shard in shards:
        if ".." in Path(shard).parts or Path(shard).is_absolute():
            raise ValueError(f"model: {index} names {shard}, which lies outside the model's folder")
        if not (folder / shard).is_file():
            raise ValueError(f"model: {index} names {shard}, which does not exist; download it again")
    if single_file.is_file() and shards != [single_file.name]:
        raise ValueError(
            f"model: {str(folder)!r} holds two sets of weights, {single_file.name} and what {index.name} names; "
            "remove one"
        )
    return [folder / shard for shard in shards]


def header(file: Path) -> list[tuple[str, str, int]]:
    """Returns name, dtype and number of elements of every tensor.

    Raises:
        ValueError: if the file is incomplete.
    """
    try:
        with safe_open(file, "pt") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
            return [(name, tensor.get_dtype(), prod(tensor.get_shape())) for name, tensor in slices.items()]
    except SafetensorError as error:
        raise ValueError(
            f"model: {file} is not a complete safetensors file ({short(error)}); it may be a truncated download or a "
            "Git LFS pointer; download it again"
        ) from error
