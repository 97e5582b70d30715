"""Tiny configs: decoders of two blocks and width 32, towers of two layers and width 16, pictures of 12 x 12."""

from typing import Any

from conformance.layout import BOS, EOS, PAD, SIDE, VOCABULARY, Pictures

ENDS = dict(pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS)
# Sections of the rotary dimensions that turn with time, height and width.
MROPE = dict(rope_parameters=dict(rope_type="default", rope_theta=10_000.0, mrope_section=[2, 1, 1]))
# Latent attention, as DeepSeek has it.
MLA = dict(q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8)
# Four experts, two a token, as most configs call them.
ROUTED = dict(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=24)


class Tiny:
    """A model type: how its processor lays out pictures, the configs of decoder and tower, other arguments of its own
    config class, and what to note."""

    def __init__(self, layout: Pictures, text: Any = None, vision: Any = None, note: str = "", **config: Any) -> None:
        self.layout, self.note = layout, note
        parts = {"text_config": text, "vision_config": vision}
        self.config = {name: part for name, part in parts.items() if part is not None} | config


def text(kind, **more):
    """A decoder's config."""
    sizes = dict(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
    )
    return dict(model_type=kind) | sizes | ENDS | more


def vision(kind=None, **more):
    """A tower's config: patches of 4 x 4, so nine a picture."""
    sizes = dict(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=4
    )
    return (dict(model_type=kind) if kind else {}) | sizes | more


CLIP = vision("clip_vision_model", projection_dim=16)
SIGLIP = vision("siglip_vision_model", vision_use_head=False)
