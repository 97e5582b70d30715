"""Checks that a processor and a model agree: image token, patch sizes, tokens per picture."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin
from transformers.image_utils import SizeDict

from atv.data.conversations import encode
from atv.data.wording import quoted, reason
from atv.model.decoder import PIXELS, VISUAL_MASK, visual_token_ids

FILE = "processor_config.json"
_QUESTION = [{"role": "user", "text": "What is in the picture?"}]
# Fields of the processor and of the model that must be equal if both have them.
_EQUAL_FIELDS = (
    ("image_seq_length", "mm_tokens_per_image"),
    ("image_processor.merge_size", "vision_config.spatial_merge_size"),
    ("image_processor.temporal_patch_size", "vision_config.temporal_patch_size"),
)
_PATCH_SIZES = ("image_processor.patch_size", "vision_config.patch_size")
# The same for processors like Pixtral's, which size pictures by these, whatever the image processor's own field.
_PIXTRAL_FIELDS = (
    ("patch_size", "vision_config.patch_size"),
    ("spatial_merge_size", "spatial_merge_size"),
)
# The same for processors like LLaVA's, which count tokens from the patches of a vision tower.
_LLAVA_FIELDS = (
    ("patch_size", "vision_config.patch_size"),
    ("vision_feature_select_strategy", "vision_feature_select_strategy"),
)


def require_fit(processor: ProcessorMixin, model: PreTrainedModel) -> None:
    """Compares the fields that both have, and encodes a question about a picture to check its visual tokens.

    Raises:
        ValueError: if they disagree; the message names the file, the field and both values, or the token.
    """
    for processor_field, processor_value, config_field, config_value in _differences(processor, model.config):
        finding = (
            f"{processor_field} is {processor_value!r}"
            if processor_value is not None
            else f"{processor_field} is missing"
        )
        raise ValueError(
            f"model: in {FILE}, {finding}, but config.json has {config_field} {config_value!r}, so pictures and "
            f"their tokens do not match; set it to {config_value!r}"
        )
    ids = visual_token_ids(model)
    _require_rows(processor, model, ids)
    try:
        inputs = encode(processor, [_QUESTION], [Image.linear_gradient("L")], prompt=True)
    except Exception as error:  # A field of the wrong type can make processors raise anything.
        if str(error).startswith("model: "):
            raise
        raise ValueError(
            f"model: {_encoding_failure(processor)}: {reason(error)}{_token_mismatch(processor, ids)}"
        ) from error
    _require_pixels(inputs)
    processor_value, input_ids = _field_value(processor, "image_token_id"), inputs["input_ids"]
    visual_count = torch.isin(input_ids, torch.tensor(ids)).sum()
    # Some processors (Gemma's) call the token that opens a picture their image token: one, beside many of the config's.
    if (
        ids
        and VISUAL_MASK not in inputs
        and processor_value not in (None, *ids)
        and (input_ids == processor_value).sum() > visual_count
    ):
        raise ValueError(
            f"model: in config.json, the image token has id {', '.join(map(str, ids))}, but the processor ({FILE}, "
            f"tokenizer) writes id {processor_value} ({_field_value(processor, 'image_token')!r}) for pictures; make "
            "them equal"
        )
    if ids and VISUAL_MASK not in inputs and not visual_count:
        raise ValueError(
            f"model: {_encoding_failure(processor)}: it writes no visual token{_token_mismatch(processor, ids)}"
        )


def _require_rows(processor: ProcessorMixin, model: PreTrainedModel, ids: tuple[int, ...]) -> None:
    """Checks that the model has a row for every token; visual tokens need none, as image features replace them."""
    vocabulary: dict[str, int] = processor.tokenizer.get_vocab()
    rows = model.get_input_embeddings().weight.shape[0]  # type: ignore[index]
    if rowless_tokens := sorted(token for token, id in vocabulary.items() if id >= rows and id not in ids):
        raise ValueError(
            f"model: its tokenizer has {len(rowless_tokens)} tokens that the model has no row for, such as "
            f"{quoted(rowless_tokens[0])} (id {vocabulary[rowless_tokens[0]]} of {rows} rows); the tokenizer "
            "may be a different model's"
        )


def _require_pixels(inputs: Mapping[str, Any]) -> None:
    """Checks that pixels are finite and not all equal; the picture is a gradient from black to white."""
    for name, value in inputs.items():
        if not (name.startswith(PIXELS) and isinstance(value, Tensor) and value.is_floating_point()):
            continue
        if not (value.isfinite().all() and value.std() > 0):
            fault = "one value for all pixels" if value.isfinite().all() else "NaN or infinite values"
            raise ValueError(
                f"model: its processor turns a picture into {fault} ({name}); check image_mean, image_std and "
                "rescale_factor in preprocessor_config.json or processor_config.json"
            )


def _token_mismatch(processor: ProcessorMixin, ids: tuple[int, ...]) -> str:
    """Describes the image tokens of the processor and the config if they differ."""
    token, token_id = _field_value(processor, "image_token"), _field_value(processor, "image_token_id")
    if token_id is None or token_id in ids:
        return ""
    return f"; its image token is {token!r} (id {token_id}), but config.json names id {', '.join(map(str, ids))}"


def _encoding_failure(processor: ProcessorMixin) -> str:
    """Describes the failure in general, with fields that are null, which are often the cause."""
    nulls = [name for name, value in vars(processor).items() if value is None and name.endswith(("_size", "_strategy"))]
    missing = f", in which {', '.join(nulls)} is missing" if nulls else ""
    return f"its processor ({type(processor).__name__}, {FILE}{missing}) cannot encode a picture for it"


def _differences(processor: ProcessorMixin, config: Any) -> Iterator[tuple[str, Any, str, Any]]:
    """Yields the processor's field and value and the config's field and value for each contradiction."""
    like_llava = hasattr(processor, "num_additional_image_tokens")
    like_pixtral = hasattr(processor, "patch_size") and hasattr(processor, "spatial_merge_size")
    patch_fields = _PIXTRAL_FIELDS if like_pixtral else (_PATCH_SIZES,)
    for processor_field, config_field in (*_EQUAL_FIELDS, *patch_fields, *(_LLAVA_FIELDS if like_llava else ())):
        processor_value, config_value = _field_value(processor, processor_field), _field_value(config, config_field)
        is_set = processor_value is not None or (like_llava and processor_field in vars(processor))
        if is_set and config_value is not None and _square_side(processor_value) != _square_side(config_value):
            yield processor_field, processor_value, config_field, config_value
    if like_llava and _field_value(config, "vision_config.model_type") == "clip_vision_model":
        # CLIP's tower has a class token beside the patches.
        processor_value = _field_value(processor, "num_additional_image_tokens")
        if processor_value != 1:
            yield (
                "num_additional_image_tokens",
                processor_value,
                "vision_config.model_type clip_vision_model, which needs",
                1,
            )


def _field_value(holder: Any, path: str) -> Any:
    for name in path.split("."):
        holder = getattr(holder, name, None)
    return holder


def _square_side(size: Any) -> Any:
    """Returns the side of a square that is given by height and width; anything else unchanged."""
    if isinstance(size, (dict, SizeDict)) and size.get("height") == size.get("width") is not None:
        return size["height"]
    return size
