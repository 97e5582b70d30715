"""Limits on the size of pictures, set in the processor and therefore saved with it."""

from transformers import ProcessorMixin


def cap_pixels(processor: ProcessorMixin, min_pixels: int | None, max_pixels: int | None) -> None:
    """Limits the area that pictures are resized to, for calibration, evaluation and all later users of the folder.

    Processors like Qwen-VL's resize to an area; those with fixed sizes or tiles have no such setting.

    Args:
        min_pixels, max_pixels: bounds on the area of a picture; None keeps the processor's own.

    Raises:
        ValueError: if the processor has no such bounds, or the bounds are out of order.
    """
    if min_pixels is None and max_pixels is None:
        return
    image_processor, option = processor.image_processor, "min_pixels" if max_pixels is None else "max_pixels"
    if not (
        hasattr(image_processor, "merge_size")
        and image_processor.size.get("shortest_edge")
        and image_processor.size.get("longest_edge")
    ):
        raise ValueError(
            f"{option}: {type(image_processor).__name__} resizes pictures to its own sizes, not to an area; omit "
            "min_pixels and max_pixels"
        )
    # In processors of this kind, both edges are areas.
    high = max(image_processor.size["longest_edge"], min_pixels or 0) if max_pixels is None else max_pixels
    low = min(image_processor.size["shortest_edge"], high) if min_pixels is None else min_pixels
    if not 0 < low <= high:
        raise ValueError(f"{option}: expected 0 < min_pixels <= max_pixels, got {low} and {high}")
    image_processor.size = type(image_processor.size)(shortest_edge=low, longest_edge=high)
