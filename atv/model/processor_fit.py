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
_TURN = [{"role": "user", "text": "What is in the picture?"}]
# Fields of the processor and of the model that must be equal if both have them.
_EQUAL = (
    ("image_seq_length", "mm_tokens_per_image"),
    ("image_processor.merge_size", "vision_config.spatial_merge_size"),
    ("image_processor.temporal_patch_size", "vision_config.temporal_patch_size"),
)
_PATCHES = ("image_processor.patch_size", "vision_config.patch_size")
# The same for processors like Pixtral's, which size pictures by these, whatever the image processor's own field.
_OF_PIXTRAL = (
    ("patch_size", "vision_config.patch_size"),
    ("spatial_merge_size", "spatial_merge_size"),
)
# The same for processors like LLaVA's, which count tokens from the patches of a vision tower.
_OF_LLAVA = (
    ("patch_size", "vision_config.patch_size"),
    ("vision_feature_select_strategy", "vision_feature_select_strategy"),
)


def require_fit(processor: ProcessorMixin, model: PreTrainedModel) -> None:
    """Compares the fields that both have, and encodes a question about a picture to check its visual tokens.

    Raises:
        ValueError: if they disagree; the message names the file, the field and both values, or the token.
    """
    for said, own, field, expected in _differences(processor, model.config):
        found = f"{said} is {own!r}" if own is not None else f"{said} is missing"
        raise ValueError(
            f"model: in {FILE}, {found}, but config.json has {field} {expected!r}, so pictures and their tokens do not "
            f"match; set it to {expected!r}"
        )
    ids = visual_token_ids(model)
    _require_rows(processor, model, ids)
    try:
        inputs = encode(processor, [_TURN], [Image.linear_gradient("L")], prompt=True)
    except Exception as error:  # A field of the wrong type can make processors raise anything.
        if str(error).startswith("model: "):
            raise
        raise ValueError(f"model: {_cannot(processor)}: {reason(error)}{_tokens(processor, ids)}") from error
    _require_pixels(inputs)
    own, written = _value(processor, "image_token_id"), inputs["input_ids"]
    seen = torch.isin(written, torch.tensor(ids)).sum()
    # Some processors (Gemma's) call the token that opens a picture their image token: one, beside many of the config's.
    if ids and VISUAL_MASK not in inputs and own not in (None, *ids) and (written == own).sum() > seen:
        raise ValueError(
            f"model: in config.json, the image token has id {', '.join(map(str, ids))}, but the processor ({FILE}, "
            f"tokenizer) writes id {own} ({_value(processor, 'image_token')!r}) for pictures; make them equal"
        )
    if ids and VISUAL_MASK not in inputs and not seen:
        raise ValueError(f"model: {_cannot(processor)}: it writes no visual token{_tokens(processor, ids)}")


def _require_rows(processor: ProcessorMixin, model: PreTrainedModel, ids: tuple[int, ...]) -> None:
    """Checks that the model has a row for every token; visual tokens need none, as image features replace them."""
    vocabulary: dict[str, int] = processor.tokenizer.get_vocab()
    rows = model.get_input_embeddings().weight.shape[0]  # type: ignore[index]
    if lost := sorted(token for token, id in vocabulary.items() if id >= rows and id not in ids):
        raise ValueError(
            f"model: its tokenizer has {len(lost)} tokens that the model has no row for, such as "
            f"{quoted(lost[0])} (id {vocabulary[lost[0]]} of {rows} rows); the tokenizer may be a different model's"
        )


def _require_pixels(inputs: Mapping[str, Any]) -> None:
    """Checks that pixels are finite and not all equal; the picture is a gradient from black to white."""
    for name, value in inputs.items():
        if not (name.startswith(PIXELS) and isinstance(value, Tensor) and value.is_floating_point()):
            continue
        if not (value.isfinite().all() and value.std() > 0):
            what = "one value for all pixels" if value.isfinite().all() else "NaN or infinite values"
            raise ValueError(
                f"model: its processor turns a picture into {what} ({name}); check image_mean, image_std and "
                "rescale_factor in preprocessor_config.json or processor_config.json"
            )


def _tokens(processor: ProcessorMixin, ids: tuple[int, ...]) -> str:
    """Describes the image tokens of the processor and the config if they differ."""
    token, own = _value(processor, "image_token"), _value(processor, "image_token_id")
    if own is None or own in ids:
        return ""
    return f"; its image token is {token!r} (id {own}), but config.json names id {', '.join(map(str, ids))}"


def _cannot(processor: ProcessorMixin) -> str:
    """Describes the failure in general, with fields that are null, which are often the cause."""
    nulls = [name for name, value in vars(processor).items() if value is None and name.endswith(("_size", "_strategy"))]
    missing = f", in which {', '.join(nulls)} is missing" if nulls else ""
    return f"its processor ({type(processor).__name__}, {FILE}{missing}) cannot encode a picture for it"


def _differences(processor: ProcessorMixin, config: Any) -> Iterator[tuple[str, Any, str, Any]]:
    """Yields the processor's field and value and the config's field and value for each contradiction."""
    of_llava = hasattr(processor, "num_additional_image_tokens")
    of_pixtral = hasattr(processor, "patch_size") and hasattr(processor, "spatial_merge_size")
    patches = _OF_PIXTRAL if of_pixtral else (_PATCHES,)
    for said, field in (*_EQUAL, *patches, *(_OF_LLAVA if of_llava else ())):
        own, expected = _value(processor, said), _value(config, field)
        there = own is not None or (of_llava and said in vars(processor))
        if there and expected is not None and _side(own) != _side(expected):
            yield said, own, field, expected
    if of_llava and _value(config, "vision_config.model_type") == "clip_vision_model":
        # CLIP's tower has a class token beside the patches.
        own = _value(processor, "num_additional_image_tokens")
        if own != 1:
            yield "num_additional_image_tokens", own, "vision_config.model_type clip_vision_model, which needs", 1


def _value(held: Any, path: str) -> Any:
    for name in path.split("."):
        held = getattr(held, name, None)
    return held


def _side(size: Any) -> Any:
    """Returns the side of a square that is given by height and width; anything else unchanged."""
    if isinstance(size, (dict, SizeDict)) and size.get("height") == size.get("width") is not None:
        return size["height"]
    return size
