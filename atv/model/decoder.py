"""Where transformers keeps a model's decoder, and how inputs mark visual tokens; both differ between model types."""

import inspect
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

VISUAL_TOKEN_FIELDS = (
    "image_token_id",
    "image_token_index",
    "image_patch_id",
    "video_token_id",
    "video_token_index",
)
# Kosmos-2 has no image token: its processor marks the positions.
VISUAL_MASK = "image_embeds_position_mask"
# Prefixes of the input keys that hold pictures or clips, or a vision tower's output for them.
PIXELS = ("pixel_values", "image_patches", "flattened_patches", "image_embeds", "mm_encoder_outputs")
# transformers' names for a forward's key-value cache, since 5.24 and before.
CACHES = ("cache", "past_key_values")
# Mllama's visual tokens are read by cross-attention and never enter the decoder.
_CROSS_ATTENTION = "cross_attention_states"
_READS_NO_TOKEN = ("*.cross_attn.k_proj", "*.cross_attn.v_proj")
# Linears that choose the tokens to attend to in sparse attention, or mix residual streams in AltUp or
# hyper-connections. As in routers, a few weights decide where much larger ones are used, and a wrong choice costs more
# than pruning them saves.
_STEERS = ("*.indexer.*", "*.altup.*", "*hyper_connection.*")


def forward_takes(model: nn.Module, *names: str) -> bool:
    """Whether the model's forward has a parameter with one of these names."""
    return any(name in inspect.signature(model.forward).parameters for name in names)


def cache_of(arguments: Mapping[str, Any]) -> Any:
    """Returns the key-value cache among a forward's arguments; None if there is none."""
    return next((arguments[name] for name in CACHES if arguments.get(name) is not None), None)


def reads_tokens(name: str) -> bool:
    """Whether a Linear called ``name`` inside a block reads the decoder's tokens, not the vision tower's states."""
    return not any(fnmatch(name, pattern) for pattern in _READS_NO_TOKEN)


def steers(name: str) -> bool:
    """Whether a Linear called ``name`` inside a block chooses the tokens to attend to, or mixes residual streams."""
    return any(fnmatch(name, pattern) for pattern in _STEERS)


def decoder_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """Returns the decoder's blocks, through the wrappers of causal language models such as OPT's and Kosmos-2's.

    Raises:
        ValueError: if the model is an encoder-decoder or has no text decoder.
    """
    model_class = type(model).__name__
    encoder_decoder_type = _encoder_decoder_type(model.config)
    if encoder_decoder_type is None and forward_takes(model, "decoder_position_ids"):
        # Diffusion Gemma's config does not say so; BLIP-2, whose decoder may be of either kind, takes only ids.
        encoder_decoder_type = model.config.model_type
    if encoder_decoder_type is not None:
        raise ValueError(
            f"{model_class} is an encoder-decoder ({encoder_decoder_type}): its visual tokens enter the encoder, and "
            "the decoder, which atv prunes, sees text alone"
        )
    decoder: Any = model.get_decoder() if hasattr(model, "get_decoder") else None
    while decoder is not None:
        blocks = getattr(decoder, "layers", None)
        if isinstance(blocks, nn.ModuleList) and len(blocks):
            return blocks
        inner: Any = decoder.get_decoder() if hasattr(decoder, "get_decoder") else decoder
        decoder = inner if inner is not decoder else getattr(decoder, "model", None)
    raise ValueError(
        f"{model_class} has no language decoder with blocks: model.get_decoder().layers is missing or empty"
    )


def visual_token_ids(model: PreTrainedModel) -> tuple[int, ...]:
    """Returns the ids of visual tokens; empty if a mask marks them, or if they stay outside the decoder.

    Raises:
        ValueError: if none of the three holds.
    """
    if forward_takes(model, _CROSS_ATTENTION):
        return ()
    ids = (getattr(model.config, field, None) for field in VISUAL_TOKEN_FIELDS)
    tokens = tuple(sorted({token for token in ids if token is not None}))
    if not tokens and not forward_takes(model, VISUAL_MASK):
        raise ValueError(
            f"{type(model).__name__} has no image token: its config has none of {', '.join(VISUAL_TOKEN_FIELDS)}"
        )
    return tokens


def _encoder_decoder_type(config: PreTrainedConfig) -> str | None:
    """Returns the model type of the innermost config of an encoder-decoder; None if there is none."""
    sub_configs = (getattr(config, name, None) for name in config.sub_configs)
    innermost = next(
        (
            inner_type
            for sub_config in sub_configs
            if sub_config is not None and (inner_type := _encoder_decoder_type(sub_config))
        ),
        None,
    )
    return innermost or (config.model_type if getattr(config, "is_encoder_decoder", False) else None)
