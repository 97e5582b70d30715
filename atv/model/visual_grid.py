"""Finds where visual tokens lie in the picture, as far as a model's config and its inputs tell."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class VisualGrid:
    """The visual tokens ``first`` to ``first + rows * columns - 1`` of a sample cover the whole picture, row by row."""

    rows: int
    columns: int
    first: int = 0

    @property
    def tokens(self) -> range:
        """Indices of the sample's visual tokens on the grid; others repeat the picture in tiles, or end rows."""
        return range(self.first, self.first + self.rows * self.columns)


def visual_grid(model: nn.Module, inputs: Mapping[str, Any], tokens: int) -> VisualGrid | None:
    """Returns the grid of a sample with one picture, or None if it is unknown.

    Supported are towers with a fixed size, with or without pooling (LLaVA, Gemma 3), those that keep the picture's
    shape (Qwen-VL, Pixtral) or accept any size (DINOv2), and tiles with the whole picture before (LLaVA-NeXT) or after
    them (InternVL, Idefics 3). A resampler's tokens (Idefics 2, Kosmos-2) have no position.

    Args:
        model: an LVLM of transformers.
        inputs: its processor's tensors for the sample alone.
        tokens: number of the sample's visual tokens.
    """
    rules: tuple[Callable[[Any, Mapping[str, Any], int], VisualGrid | None], ...] = (
        _patch_counts,
        _pixel_sizes,
        _any_size,
        _fixed_size,
    )
    config = getattr(model, "config", None)
    return next((grid for rule in rules if (grid := rule(config, inputs, tokens)) is not None), None)


def seen_picture(inputs: Mapping[str, Any], grid: VisualGrid | None, mean: Any, std: Any) -> NDArray | None:
    """Returns what the tower sees of the whole picture, resized and cropped: float32 (height, width, 3) in [0, 1].

    None if the processor returns patches instead of a picture; such processors only resize it.

    Args:
        inputs: a processor's tensors for one sample.
        grid: tells which tile shows the whole picture.
        mean, std: parameters of the processor's normalisation, per channel, or None.
    """
    pixels = inputs.get("pixel_values")
    if not isinstance(pixels, Tensor) or pixels.dim() < 4 or pixels.shape[-3] != 3 or mean is None or std is None:
        return None
    tile = pixels.reshape(-1, *pixels.shape[-3:])[-1 if grid is not None and grid.first else 0]
    channels = (torch.tensor(value, dtype=torch.float32).reshape(-1, 1, 1) for value in (std, mean))
    return (tile.float() * next(channels) + next(channels)).clamp(0, 1).permute(1, 2, 0).numpy()


def _patch_counts(config: Any, inputs: Mapping[str, Any], tokens: int) -> VisualGrid | None:
    """Reads ``image_grid_thw``: frames, rows and columns of patches; a square of patches becomes one token."""
    counts = inputs.get("image_grid_thw")
    if counts is None or len(counts) != 1:
        return None
    frames, rows, columns = (int(count) for count in counts[0])
    merge = isqrt(rows * columns // tokens) if tokens else 0
    fits = frames == 1 and merge and (rows // merge) * (columns // merge) == tokens
    return VisualGrid(rows // merge, columns // merge) if fits else None


def _pixel_sizes(config: Any, inputs: Mapping[str, Any], tokens: int) -> VisualGrid | None:
    """Reads ``image_sizes`` in pixels, if the tower reads the picture whole and not in tiles."""
    sizes, patch = inputs.get("image_sizes"), _size(_tower_field(config, "patch_size"))
    if sizes is None or not patch or len(sizes) != 1 or getattr(config, "image_grid_pinpoints", None) is not None:
        return None
    side = patch * (getattr(config, "spatial_merge_size", None) or 1)
    rows, columns = (int(size) // side for size in sizes[0])
    return VisualGrid(rows, columns) if rows * columns == tokens else None


def _any_size(config: Any, inputs: Mapping[str, Any], tokens: int) -> VisualGrid | None:
    """One picture of any size, if the tower adapts its positions to it (DINOv2), whatever size the config names."""
    pixels, patch = inputs.get("pixel_values"), _size(_tower_field(config, "patch_size"))
    if not isinstance(pixels, Tensor) or pixels.dim() < 4 or not patch or _tiles(inputs) != 1:
        return None
    rows, columns = (size // patch for size in pixels.shape[-2:])
    return VisualGrid(rows, columns) if rows * columns == tokens else None


def _fixed_size(config: Any, inputs: Mapping[str, Any], tokens: int) -> VisualGrid | None:
    """A tower with a fixed size: one square, or several, one of which shows the whole picture."""
    side = _side(config)
    if not side or tokens < side**2:
        return None
    if tokens == side**2:
        return VisualGrid(side, side)
    if getattr(config, "image_grid_pinpoints", None) is not None:
        return VisualGrid(side, side)
    whole_is_last = _tiles(inputs) * side**2 == tokens and _pooling(config) > 1
    return VisualGrid(side, side, tokens - side**2) if whole_is_last else None


def _side(config: Any) -> int:
    """Returns the number of visual tokens along the side of a square picture; 0 if it is unknown."""
    image, patch = _size(_tower_field(config, "image_size")), _size(_tower_field(config, "patch_size"))
    if pooled := getattr(config, "mm_tokens_per_image", None):
        return isqrt(pooled)
    return int(image // patch / _pooling(config)) if image and patch else 0


def _pooling(config: Any) -> float:
    """Returns how many patches along a side become one token (pixel shuffle)."""
    ratio = getattr(config, "downsample_ratio", None) or _tower_field(config, "pixel_shuffle_ratio")
    return 1 / ratio if ratio else float(getattr(config, "scale_factor", None) or 1)


def _tiles(inputs: Mapping[str, Any]) -> int:
    """Returns how many pictures the tower reads: (tiles, 3, height, width) or (1, tiles, 3, height, width)."""
    pixels = inputs.get("pixel_values")
    return pixels.shape[:-3].numel() if isinstance(pixels, Tensor) and pixels.dim() > 3 else 1


def _tower_field(config: Any, name: str) -> Any:
    return getattr(getattr(config, "vision_config", None), name, None)


def _size(value: Any) -> int:
    """Returns the size that a config gives as a number or as a pair of equal numbers; 0 for anything else."""
    if isinstance(value, (list, tuple)):
        return value[0] if len(set(value)) == 1 else 0
    return value or 0
