"""Pictures that the vision tower encoded once, for every model that differs from this one in the decoder alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers.modeling_outputs import BaseModelOutputWithPooling

from atv.model.decoder import takes
from atv.model.lvlm import LVLM

# By what transformers' models take the vision tower's outputs in place of pixels.
_ENCODED = "mm_encoder_outputs"


def with_encoded_pictures(lvlm: LVLM, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """``inputs`` with the vision tower's output in place of their pixels, where the model takes such."""
    plain = set(inputs) == {"input_ids", "attention_mask", "pixel_values"}
    if not plain or not takes(lvlm.model, _ENCODED):
        return dict(inputs)
    encode: Any = lvlm.model.get_image_features
    pixels = inputs["pixel_values"].to(lvlm.model.device, lvlm.model.dtype)
    return _replaced(inputs, encode(pixel_values=pixels, return_dict=True).pooler_output)


def with_shared_pictures(inputs: Mapping[str, Any], encoded: Mapping[str, Any], of: Sequence[int]) -> dict[str, Any]:
    """``inputs`` with pictures that were encoded once, though several of the rows show the same one.

    Args:
        encoded: what ``with_encoded_pictures`` made of inputs with a row for each picture; where it left their pixels,
            ``inputs`` stay as they are.
        of: for each row of ``inputs``, which of these pictures it shows.
    """
    if _ENCODED not in encoded:
        return dict(inputs)
    features = encoded[_ENCODED]["image"].pooler_output
    return _replaced(inputs, [features[picture] for picture in of])


def _replaced(inputs: Mapping[str, Any], features: Any) -> dict[str, Any]:
    """``inputs`` with ``features``, a tensor a picture, in place of pixels."""
    others = {key: value for key, value in inputs.items() if key != "pixel_values"}
    return others | {_ENCODED: {"image": BaseModelOutputWithPooling(pooler_output=features)}}
