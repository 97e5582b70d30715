"""Passes pictures that the vision tower encoded once to every model that differs from this one only in the decoder."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers.modeling_outputs import BaseModelOutputWithPooling

from atv.model.decoder import forward_takes
from atv.model.lvlm import LVLM

# The argument with which transformers' models take the vision tower's outputs in place of pixels.
_ENCODED = "mm_encoder_outputs"


def with_encoded_pictures(lvlm: LVLM, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``inputs`` with the vision tower's output in place of pixels, if the model accepts it."""
    replaceable = set(inputs) == {"input_ids", "attention_mask", "pixel_values"}
    if not replaceable or not forward_takes(lvlm.model, _ENCODED):
        return dict(inputs)
    encode: Any = lvlm.model.get_image_features
    pixels = inputs["pixel_values"].to(lvlm.model.device, lvlm.model.dtype)
    return _replaced(inputs, encode(pixel_values=pixels, return_dict=True).pooler_output)


def with_shared_pictures(
    inputs: Mapping[str, Any], encoded: Mapping[str, Any], picture_of_row: Sequence[int]
) -> dict[str, Any]:
    """Returns ``inputs`` with pictures that were encoded only once, even if several rows show the same one.

    Args:
        encoded: what ``with_encoded_pictures`` returned for inputs with one row per picture; if it kept their pixels,
            ``inputs`` are not changed.
        picture_of_row: for each row of ``inputs``, the index of the picture that it shows.
    """
    if _ENCODED not in encoded:
        return dict(inputs)
    features = encoded[_ENCODED]["image"].pooler_output
    return _replaced(inputs, [features[picture] for picture in picture_of_row])


def _replaced(inputs: Mapping[str, Any], features: Any) -> dict[str, Any]:
    """Returns ``inputs`` with ``features``, one tensor per picture, in place of pixels."""
    others = {key: value for key, value in inputs.items() if key != "pixel_values"}
    return others | {_ENCODED: {"image": BaseModelOutputWithPooling(pooler_output=features)}}
