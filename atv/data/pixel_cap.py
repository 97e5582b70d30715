"""A cap on the size of pictures, kept in the processor and so saved with it."""

from transformers import ProcessorMixin


def cap_pixels(processor: ProcessorMixin, min_pixels: int | None, max_pixels: int | None) -> None:
    """Bounds the area to which pictures are resized, for calibration, evaluation and whoever loads the folder.

    Processors in the manner of Qwen-VL take an area; those with fixed sizes or tiles have nothing to set.

    Args:
        min_pixels, max_pixels: area of a picture; None leaves the processor's own.

    Raises:
        ValueError: for a processor without such a bound, or bounds that are not in order.
    """
    if min_pixels is None and max_pixels is None:
        return
    images, option = processor.image_processor, "min_pixels" if max_pixels is None else "max_pixels"
    if not (hasattr(images, "merge_size") and images.size.get("shortest_edge") and images.size.get("longest_edge")):
        raise ValueError(
            f"{option}: {type(images).__name__} resizes pictures to sizes of its own, not to an area; leave "
            "min_pixels and max_pixels out"
        )
    # Of this kind, both edges are areas.
    high = max(images.size["longest_edge"], min_pixels or 0) if max_pixels is None else max_pixels
    low = min(images.size["shortest_edge"], high) if min_pixels is None else min_pixels
    if not 0 < low <= high:
        raise ValueError(f"{option}: expected 0 < min_pixels <= max_pixels, got {low} and {high}")
    images.size = type(images.size)(shortest_edge=low, longest_edge=high)
