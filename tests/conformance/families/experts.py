"""Types whose decoder is a mixture of experts: four of them, of which a token is given to two, or one in Llama 4."""

from dataclasses import dataclass

from conformance.families.grids import DEEPSTACK, GLM_IDS, QWEN35, QWEN_IDS, Grid, tower
from conformance.layout import END, IMAGE, START, VIDEO, Pictures, Visual, noise
from conformance.sizes import MROPE, ROUTED, Tiny, text, vision


@dataclass
class TwoKinds(Grid):
    """ERNIE 4.5 VL's processor tells which experts a token is for as well."""

    temporal: int = 1
    has_clips = False

    def beside(self, ids, kinds):
        return super().beside(ids, kinds) | {"moe_mm_token_type_ids": kinds}


@dataclass
class Patches(Pictures):
    """Inkling's processor gives patches, a token each, with the width last and every frame twice."""

    def image(self, pixels, large):
        count = self.tokens + 3 * large
        return Visual([IMAGE] * count, {"pixel_values": noise(pixels, count, 2, 4, 4, 3)})


FOUR = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24)
ROPE = MROPE["rope_parameters"]
GLM = text(
    "glm4v_moe_text",
    rope_parameters=ROPE | dict(partial_rotary_factor=1.0),
    n_shared_experts=1,
    n_group=1,
    topk_group=1,
    first_k_dense_replace=0,
    **ROUTED,
)
INKLING_ATTENTION = dict(
    layer_types=["hybrid_sliding", "hybrid"],
    swa_num_attention_heads=4,
    swa_num_key_value_heads=2,
    swa_head_dim=8,
    sliding_window_size=8,
    d_rel=4,
    rel_extent=16,
    conv_kernel_size=3,
)
INKLING = text("inkling_text", mlp_layer_types=["dense", "sparse"], n_shared_experts=2, **INKLING_ATTENTION, **ROUTED)
LLAMA4 = text(
    "llama4_text",
    num_local_experts=4,
    num_experts_per_tok=1,
    interleave_moe_layer_step=1,
    intermediate_size_mlp=48,
    attention_chunk_size=64,
)
LLAMA4_VISION = vision(
    "llama4_vision_model",
    image_size=16,
    intermediate_size=64,
    vision_output_dim=32,
    projector_input_dim=32,
    projector_output_dim=32,
    pixel_shuffle_ratio=0.5,
)
ERNIE = text(
    "ernie4_5_vl_moe_text",
    rope_parameters=ROPE | dict(mrope_section=[1, 1, 2]),
    moe_k=2,
    moe_num_experts=4,
    moe_num_shared_experts=1,
    moe_intermediate_size=[24, 16],
    mlp_layer_types=["sparse"] * 2,
)
ERNIE_IDS = GLM_IDS | dict(video_start_token_id=START, video_end_token_id=END)

TYPES = {
    "qwen3_vl_moe": Tiny(
        Grid(frames_apart=True),
        text("qwen3_vl_moe_text", **MROPE, **FOUR),
        tower("qwen3_vl_moe_vision", **DEEPSTACK),
        **QWEN_IDS,
    ),
    "qwen3_5_moe": Tiny(
        Grid(frames_apart=True),
        QWEN35 | FOUR | dict(model_type="qwen3_5_moe_text", shared_expert_intermediate_size=24),
        tower("qwen3_5_moe_vision", num_position_embeddings=16),
        **QWEN_IDS,
    ),
    "glm4v_moe": Tiny(
        Grid(frames_apart=True, clip_token=IMAGE), GLM, tower("glm4v_moe_vision", image_size=16), **GLM_IDS
    ),
    "llama4": Tiny(Pictures(4, side=16), LLAMA4, LLAMA4_VISION, image_token_index=IMAGE),
    "inkling_mm_model": Tiny(
        Patches(6),
        INKLING,
        dict(patch_size=4, num_hidden_layers=2),
        note="shared experts in stacks of their own",
        audio_config=dict(n_mel_bins=4, mel_vocab_size=4),
        image_token_id=IMAGE,
        audio_token_id=VIDEO,
        image_bos_token_id=START,
        audio_bos_token_id=END,
    ),
    "aria": Tiny(
        Pictures(4, side=8),
        text("aria_text", moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1),
        vision("idefics3_vision", image_size=8),
        projector_patch_to_query_dict={4: 4},
        image_token_index=IMAGE,
    ),
    "ernie4_5_vl_moe": Tiny(
        TwoKinds(),
        ERNIE,
        dict(depth=2, hidden_size=16, intermediate_size=32, num_heads=2, patch_size=4),
        note="experts of one modality each",
        **ERNIE_IDS,
    ),
}
