"""Model types that read prompts differently in a batch than alone, as of transformers 5.23; such batches fail."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel

from atv.model.lvlm import LVLM

# Padding in front of a prompt counts: in the positions by which MiniMax M3's indexers choose keys, in the scale of
# Mistral Large 4's queries unless it is given positions, as by ``generate``, and in Kosmos-2.5's decoding.
PADDING_COUNTS = ("minimax_m3_vl", "mistral_large4")
PADDING_COUNTS_DECODING = ("minimax_m3_vl", "kosmos-2.5")
# A picture's number counts, and pictures are numbered through the batch, not through the prompt.
PICTURES_COUNT = ("hunyuan_vl",)


def read_alone(model: PreTrainedModel, decoding: bool = False) -> bool:
    """Whether prompts must come one by one to be read or, if ``decoding``, to be answered."""
    return model.config.model_type in PICTURES_COUNT + (PADDING_COUNTS_DECODING if decoding else PADDING_COUNTS)


def require_batch_size(model: PreTrainedModel, batch_size: int) -> None:
    """Checks that a type that must read samples one by one gets them so, whatever the samples hold.

    Raises:
        ValueError: if batches are larger.
    """
    if read_alone(model) and batch_size > 1:
        model_type = model.config.model_type
        raise ValueError(
            f"batch_size: transformers' {model_type} reads prompts differently in a batch than alone; expected 1, got "
            f"{batch_size}"
        )


def require_own_positions(model: PreTrainedModel, inputs: Mapping[str, Any], decoding: bool = False) -> None:
    """Checks that the model reads the prompts of a batch as it reads them alone.

    Args:
        inputs: output of a processor.
        decoding: whether answers are generated, instead of a single forward.

    Raises:
        ValueError: if the model's type gives tokens different positions in this batch, because a prompt is padded in
            front, or because there are several prompts and any has a picture.
    """
    model_type, mask = model.config.model_type, inputs.get("attention_mask")
    padding_types = PADDING_COUNTS_DECODING if decoding else PADDING_COUNTS
    affected = ""
    if model_type in padding_types and mask is not None and not mask[:, 0].all() and "position_ids" not in inputs:
        affected = "that are padded in front"
    if model_type in PICTURES_COUNT and len(inputs["input_ids"]) > 1 and LVLM.brings_pixels(inputs):
        affected = "with pictures"
    if affected:
        raise ValueError(
            f"batch_size: transformers' {model_type} reads prompts {affected} differently in a batch than alone; "
            "use --batch_size 1"
        )
