"""Where transformers keeps a model's decoder, and how its inputs mark visual tokens: what differs between types."""

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
# How the keys of inputs begin that bring pictures or clips, or what a vision tower made of them.
PIXELS = ("pixel_values", "image_patches", "flattened_patches", "image_embeds", "mm_encoder_outputs")
# What transformers calls a forward's keys and values, since 5.24 and before.
CACHES = ("cache", "past_key_values")
# Mllama's visual tokens are read by cross-attention and never enter the decoder.
_CROSS_ATTENTION = "cross_attention_states"
_READS_NO_TOKEN = ("*.cross_attn.k_proj", "*.cross_attn.v_proj")
# Sparse attention's choice of the tokens that are attended to, and the mixing of residual streams by AltUp or
# hyper-connections: as with routers, few weights decide where much larger ones are of use, and a wrong choice costs
# more than they save.
_STEERS = ("*.indexer.*", "*.altup.*", "*hyper_connection.*")


def takes(model: nn.Module, *names: str) -> bool:
    """Whether the model's forward has a parameter of one of these names."""
    return any(name in inspect.signature(model.forward).parameters for name in names)


def cache_of(given: Mapping[str, Any]) -> Any:
    """The keys and values among what a forward is given; None without any."""
    return next((given[name] for name in CACHES if given.get(name) is not None), None)


def reads_tokens(name: str) -> bool:
    """Whether a Linear called ``name`` inside a block reads the decoder's tokens, not the vision tower's states."""
    return not any(fnmatch(name, pattern) for pattern in _READS_NO_TOKEN)


def steers(name: str) -> bool:
    """Whether a Linear called ``name`` inside a block chooses which tokens are attended to, or mixes the streams."""
    return any(fnmatch(name, pattern) for pattern in _STEERS)


def decoder_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """The decoder's blocks, some wrappers deeper for causal language models such as OPT's and Kosmos-2's.

    Raises:
        ValueError: for an encoder-decoder, or a model without a text decoder.
    """
    kind = type(model).__name__
    language = _encoder_decoder(model.config)
    if language is None and takes(model, "decoder_position_ids"):
        # Diffusion Gemma does not say so in its config; BLIP-2, whose decoder may be of either kind, takes ids alone.
        language = model.config.model_type
    if language is not None:
        raise ValueError(
            f"{kind} is an encoder-decoder ({language}): its visual tokens enter the encoder, and the decoder, which "
            "atv prunes, sees text alone"
        )
    decoder: Any = model.get_decoder() if hasattr(model, "get_decoder") else None
    while decoder is not None:
        blocks = getattr(decoder, "layers", None)
        if isinstance(blocks, nn.ModuleList) and len(blocks):
            return blocks
        inner: Any = decoder.get_decoder() if hasattr(decoder, "get_decoder") else decoder
        decoder = inner if inner is not decoder else getattr(decoder, "model", None)
    raise ValueError(f"{kind} has no language decoder with blocks: model.get_decoder().layers is missing or empty")


def visual_token_ids(model: PreTrainedModel) -> tuple[int, ...]:
    """The ids that stand for visual tokens; none where a mask does, or where visual tokens stay outside the decoder.

    Raises:
        ValueError: for a model without any of the three.
    """
    if takes(model, _CROSS_ATTENTION):
        return ()
    ids = (getattr(model.config, field, None) for field in VISUAL_TOKEN_FIELDS)
    tokens = tuple(sorted({token for token in ids if token is not None}))
    if not tokens and not takes(model, VISUAL_MASK):
        raise ValueError(
            f"{type(model).__name__} has no image token: its config has none of {', '.join(VISUAL_TOKEN_FIELDS)}"
        )
    return tokens


def _encoder_decoder(config: PreTrainedConfig) -> str | None:
    """The model type of the first config, from the innermost out, that is an encoder-decoder's."""
    inner = (getattr(config, name, None) for name in config.sub_configs)
    innermost = next((kind for sub in inner if sub is not None and (kind := _encoder_decoder(sub))), None)
    return innermost or (config.model_type if getattr(config, "is_encoder_decoder", False) else None)
