"""How large pictures may be at evaluation, where a model takes them at their own size: it moves scores."""

from typing import Any

from transformers import ProcessorMixin

# Least and most pixels by model type, as lmms-eval sets them.
PIXELS = {"qwen2_vl": (56 * 56, 602_112), "qwen2_5_vl": (256 * 28 * 28, 1_605_632)}


def pin_pixels(processor: ProcessorMixin, model_type: str) -> dict[str, int] | None:
    """Sets a processor's limits to those that published scores were made with; None where nothing is to be set."""
    if model_type not in PIXELS:
        return None
    least, most = PIXELS[model_type]
    limits: dict[str, Any] = {"shortest_edge": least, "longest_edge": most}
    processor.image_processor.size = limits
    return {"min_pixels": least, "max_pixels": most}
