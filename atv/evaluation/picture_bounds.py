"""Minimum and maximum pixels of a benchmark's pictures, as lmms-eval or the user sets them."""

from collections.abc import Mapping
from typing import Any

from transformers import ProcessorMixin

from atv.data.pixel_cap import cap_pixels

# Minimum and maximum pixels by model type, as lmms-eval sets them. Its class for Qwen3-VL has different ones (200,704
# and 1,605,632) but leaves pictures to qwen-vl-utils, whose limits these are: 4 and 16,384 tokens of 32 x 32 pixels.
PIXEL_BOUNDS = {
    "qwen2_vl": (56 * 56, 602_112),
    "qwen2_5_vl": (256 * 28 * 28, 1_605_632),
    "qwen3_vl": (4 * 32 * 32, 16_384 * 32 * 32),
    "qwen3_vl_moe": (4 * 32 * 32, 16_384 * 32 * 32),
}


def bound_pixels(
    processor: ProcessorMixin, model_type: str, min_pixels: int | None, max_pixels: int | None
) -> Mapping[str, int | None] | None:
    """Sets a processor's limits to the given ones, or else to those of published scores; returns None if none apply."""
    if min_pixels is not None or max_pixels is not None:
        cap_pixels(processor, min_pixels, max_pixels)
    elif model_type in PIXEL_BOUNDS:
        min_pixels, max_pixels = PIXEL_BOUNDS[model_type]
        limits: dict[str, Any] = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
        processor.image_processor.size = limits
    else:
        return None
    return {"min_pixels": min_pixels, "max_pixels": max_pixels}
