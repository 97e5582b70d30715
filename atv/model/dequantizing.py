"""Dequantization of packed weights by transformers, fixed for models that it rejects without need."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.core_model_loading import WeightConverter
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
from transformers.quantizers.quantizer_compressed_tensors import CompressedTensorsHfQuantizer

_METHOD = "compressed-tensors"


class _Quantizer(CompressedTensorsHfQuantizer):
    """transformers' quantizer, except that tensors that loading splits (in DINOv2's towers) do not count as quantized.

    If asked for floats, transformers 5.23 looks for packed words and scales of every tensor that loading converts, and
    stops if it must make several tensors from these: "you can only have one to many, one to one or many to one".
    """

    def update_weight_conversions(self, weight_conversions: list[Any], *model: Any) -> list[Any]:
        # A list is not a converter, so it is passed on unchanged.
        wrapped = [[conversion] if _is_splitting(conversion) else conversion for conversion in weight_conversions]
        updated = super().update_weight_conversions(wrapped, *model)
        return [conversion[0] if isinstance(conversion, list) else conversion for conversion in updated]


@contextmanager
def parted_weights_as_floats() -> Iterator[None]:
    """Lets transformers load packed models whose vision tower has tensors that loading splits."""
    former_quantizer = AUTO_QUANTIZER_MAPPING[_METHOD]
    AUTO_QUANTIZER_MAPPING[_METHOD] = _Quantizer
    try:
        yield
    finally:
        AUTO_QUANTIZER_MAPPING[_METHOD] = former_quantizer


def _is_splitting(conversion: Any) -> bool:
    """Whether loading makes several tensors of one."""
    return isinstance(conversion, WeightConverter) and len(conversion.target_patterns) > 1
