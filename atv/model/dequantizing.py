"""How transformers makes floats of packed weights, mended where it refuses models that it need not refuse."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.core_model_loading import WeightConverter
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
from transformers.quantizers.quantizer_compressed_tensors import CompressedTensorsHfQuantizer

_METHOD = "compressed-tensors"


class _Quantizer(CompressedTensorsHfQuantizer):
    """As transformers', but tensors that loading parts into several (of DINOv2's towers) are no quantized ones.

    transformers 5.23, asked for floats, looks for words and scales of all that loading converts, and stops where
    several tensors are to be made of these: "you can only have one to many, one to one or many to one".
    """

    def update_weight_conversions(self, weight_conversions: list[Any], *model: Any) -> list[Any]:
        # What is no converter is handed on as it is.
        hidden = [[one] if _parts(one) else one for one in weight_conversions]
        updated = super().update_weight_conversions(hidden, *model)
        return [one[0] if isinstance(one, list) else one for one in updated]


@contextmanager
def parted_weights_as_floats() -> Iterator[None]:
    """Lets transformers load packed models whose vision tower has tensors that loading parts."""
    earlier = AUTO_QUANTIZER_MAPPING[_METHOD]
    AUTO_QUANTIZER_MAPPING[_METHOD] = _Quantizer
    try:
        yield
    finally:
        AUTO_QUANTIZER_MAPPING[_METHOD] = earlier


def _parts(conversion: Any) -> bool:
    return isinstance(conversion, WeightConverter) and len(conversion.target_patterns) > 1
