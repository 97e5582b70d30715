"""Types whose tokens stand elsewhere in a batch than alone, as transformers 5.23 has them: such batches are refused."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel

from atv.model.lvlm import LVLM

# The padding in front of a prompt counts: in the places by which MiniMax M3's indexers choose keys, in the scale of
# Mistral Large 4's queries unless it is given positions, as ``generate`` gives them, and in Kosmos-2.5's decoding.
PADDING_COUNTS = ("minimax_m3_vl", "mistral_large4")
PADDING_COUNTS_DECODING = ("minimax_m3_vl", "kosmos-2.5")
# The number of a picture counts, and pictures are counted through the batch, not through the prompt.
PICTURES_COUNT = ("hunyuan_vl",)


def read_alone(model: PreTrainedModel, decoding: bool = False) -> bool:
    """Whether prompts are to come one by one, to be read or, ``decoding``, to be answered."""
    return model.config.model_type in PICTURES_COUNT + (PADDING_COUNTS_DECODING if decoding else PADDING_COUNTS)


def require_batch_size(model: PreTrainedModel, batch_size: int) -> None:
    """Checks that samples of a type that is to read them one by one come so, whatever is in them.

    Raises:
        ValueError: for larger batches.
    """
    if read_alone(model) and batch_size > 1:
        kind = model.config.model_type
        raise ValueError(
            f"batch_size: transformers' {kind} reads prompts otherwise in a batch than alone; expected 1, got "
            f"{batch_size}"
        )


def require_own_positions(model: PreTrainedModel, inputs: Mapping[str, Any], decoding: bool = False) -> None:
    """Checks that a batch is read as its prompts are alone.

    Args:
        inputs: what a processor returns.
        decoding: whether answers are generated, in place of a forward.

    Raises:
        ValueError: for a batch of a type that gives tokens other positions there, where a prompt is padded in front, or
            there are several, of which any has a picture.
    """
    kind, mask = model.config.model_type, inputs.get("attention_mask")
    padding = PADDING_COUNTS_DECODING if decoding else PADDING_COUNTS
    of = ""
    if kind in padding and mask is not None and not mask[:, 0].all() and "position_ids" not in inputs:
        of = "that are padded in front"
    if kind in PICTURES_COUNT and len(inputs["input_ids"]) > 1 and LVLM.brings_pixels(inputs):
        of = "with pictures"
    if of:
        raise ValueError(
            f"batch_size: transformers' {kind} reads prompts {of} otherwise in a batch than alone; use --batch_size 1"
        )
