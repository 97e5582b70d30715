"""The vision half: a transformer over patches, in float32, cut after a given number of blocks."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, Dinov2Config, PreTrainedConfig
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

# Names of parts in an exported file -> names in transformers, which has renamed them since.
_RENAMED = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}
# Channels of a head in all sizes of DINOv2; an exported graph shows them only in reshapes.
_HEAD_WIDTH = 64
# The weights whose shapes determine the configuration of a DINOv2.
_CLASS_TOKEN, _PATCHES, _POSITIONS, _MLP_BIAS = (
    "embeddings.cls_token",
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.position_embeddings",
    "encoder.layer.0.mlp.fc1.bias",
)
# Mean and standard deviation of the pictures, by channel.
IMAGENET = (tuple(IMAGENET_DEFAULT_MEAN), tuple(IMAGENET_DEFAULT_STD))


@dataclass(frozen=True)
class VisionHalf:
    """A vision tower in float32.

    Attributes:
        config: config of the tower, whose last block is the one whose output is used.
        weights: weights under transformers' names.
        mean, std: mean and standard deviation of the three channels, for pixel values between 0 and 1.
    """

    config: PreTrainedConfig
    weights: dict[str, Tensor]
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]


def vision_from_onnx(file: Path, blocks: int | None) -> VisionHalf:
    """Reads the DINOv2 inside an ONNX file exported from transformers, cut after ``blocks`` blocks (None keeps all).

    The file stores the weights of Linears transposed and under numbers, so each is named after the node that multiplies
    by it. It stores the position embeddings as two constants, one of the class token and one of the patches.

    Raises:
        ValueError: if the file is not ONNX, holds no DINOv2, or holds one with fewer blocks.
    """
    stored_weights = _named_weights(_graph(file))
    missing_weights = [name for name in (_CLASS_TOKEN, _PATCHES, _POSITIONS, _MLP_BIAS) if name not in stored_weights]
    if missing_weights:
        raise ValueError(f"vision: {str(file)!r} holds no DINOv2 with a class token: {missing_weights[0]} is missing")
    config = _dinov2_config(stored_weights, blocks, file)
    return VisionHalf(config, _checked_weights(stored_weights, config, file))


def vision_from_folder(folder: Path, blocks: int | None) -> VisionHalf:
    """Reads the vision tower of a folder saved with ``save_pretrained``, cut after ``blocks`` blocks (None keeps all).

    Raises:
        ValueError: if the folder has no vision tower, or one with fewer blocks.
    """
    # CLIP and similar models have a text half as well.
    full_config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
    config = _cut(getattr(full_config, "vision_config", full_config), blocks, folder)
    try:
        options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
        model, info = AutoModel.from_pretrained(
            folder, config=config, dtype=torch.float32, output_loading_info=True, **options
        )
        # transformers would initialize missing weights at random.
        if missing_weights := sorted(map(str, info["missing_keys"] or info["mismatched_keys"])):
            raise ValueError(f"it lacks {', '.join(missing_weights[:3])}")
    except (ImportError, OSError, ValueError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"vision: {str(folder)!r} cannot be read as a vision tower: {reason}") from error
    weights = {name: weight.detach() for name, weight in model.state_dict().items()}
    return VisionHalf(config, weights, *_normalisation(folder))


def _normalisation(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation of the folder's image processor, or ImageNet's if it has none."""
    file = folder / "preprocessor_config.json"
    stored = json.loads(file.read_text()) if file.is_file() else {}
    return tuple(stored.get("image_mean", IMAGENET[0])), tuple(stored.get("image_std", IMAGENET[1]))


def _graph(file: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(file).graph
    except DecodeError as error:
        raise ValueError(f"vision: {str(file)!r} is not an ONNX file") from error


def _named_weights(graph: Any) -> dict[str, np.ndarray]:
    """Returns all weights of the backbone under transformers' names, without the prefix of the exported model."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in graph.initializer}
    prefix = next((name.removesuffix(_CLASS_TOKEN) for name in tensors if name.endswith(_CLASS_TOKEN)), "")
    names = {name: (name, False) for name in tensors if not name.startswith("onnx::")}
    position_sources: dict[str, str] = {}
    for node in graph.node:
        path = node.name.strip("/").replace("/", ".")
        for tensor_name in node.input:
            if tensor_name.startswith("onnx::MatMul") and tensor_name in tensors:
                names[tensor_name] = (f"{path.rpartition('.')[0]}.weight", True)
            elif (
                tensor_name in tensors
                and len(tensors[tensor_name].dims) == 3
                and path.startswith(f"{prefix}embeddings.")
            ):
                position_sources[node.op_type] = tensor_name
    weights = {}
    for tensor_name, (name, transposed) in names.items():
        if name.startswith(prefix):
            weight = numpy_helper.to_array(tensors[tensor_name])
            weights[_renamed(name.removeprefix(prefix))] = weight.T if transposed else weight
    if {"Concat", "Reshape"} <= position_sources.keys():
        position_embeddings = [
            numpy_helper.to_array(tensors[position_sources[operation]]) for operation in ("Concat", "Reshape")
        ]
        weights[_POSITIONS] = np.concatenate(position_embeddings, axis=1)
    return weights


def _renamed(name: str) -> str:
    for old, new in _RENAMED.items():
        name = name.replace(old, new)
    return name


def _dinov2_config(stored_weights: Mapping[str, np.ndarray], blocks: int | None, file: Path) -> Dinov2Config:
    """Derives the config from the shapes of the weights."""
    hidden, channels, patch_size, _ = stored_weights[_PATCHES].shape
    block_numbers = [int(match[1]) for name in stored_weights if (match := re.match(r"encoder\.layer\.(\d+)\.", name))]
    patches_per_side = round((stored_weights[_POSITIONS].shape[1] - 1) ** 0.5)
    full_config = Dinov2Config(
        hidden_size=hidden,
        num_hidden_layers=max(block_numbers, default=-1) + 1,
        num_attention_heads=hidden // _HEAD_WIDTH,
        mlp_ratio=stored_weights[_MLP_BIAS].shape[0] // hidden,
        image_size=patches_per_side * patch_size,
        patch_size=patch_size,
        num_channels=channels,
        use_mask_token=False,
    )
    return _cut(full_config, blocks, file)


def _cut(config: Any, blocks: int | None, source: Path) -> Any:
    """Returns the config of a tower that ends after ``blocks`` blocks."""
    if blocks is None:
        return config
    if not 1 <= blocks <= config.num_hidden_layers:
        raise ValueError(
            f"blocks: {blocks} is out of range; the tower in {str(source)!r} has {config.num_hidden_layers} blocks"
        )
    stage_keys = ("out_features", "out_indices", "stage_names")
    entries = {key: value for key, value in config.to_dict().items() if key not in stage_keys}
    return type(config)(**entries | {"num_hidden_layers": blocks})


def _checked_weights(stored_weights: Mapping[str, np.ndarray], config: Dinov2Config, file: Path) -> dict[str, Tensor]:
    """Returns the weights of transformers' model with this config, after checking that each has the right shape."""
    with torch.device("meta"):
        expected = AutoModel.from_config(config).state_dict()
    weights = {}
    for name, expected_weight in expected.items():
        if name not in stored_weights or stored_weights[name].shape != tuple(expected_weight.shape):
            actual = stored_weights[name].shape if name in stored_weights else "missing"
            raise ValueError(
                f"vision: in {str(file)!r}, {name} is {actual}; DINOv2 expects {tuple(expected_weight.shape)}"
            )
        weights[name] = torch.from_numpy(np.array(stored_weights[name], dtype=np.float32, order="C"))
    return weights
