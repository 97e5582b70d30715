"""Types whose decoder carries several residual streams a token, or attends to the tokens that an indexer picks."""

import torch
from conformance.families.experts import INKLING_ATTENTION
from conformance.families.grids import GLM_IDS, QWEN_IDS, Grid, tower
from conformance.families.tiles import PIXTRAL, Pixtral
from conformance.layout import IMAGE, IMAGE_WORD, Pictures, Visual, noise
from conformance.sizes import MROPE, ROUTED, Tiny, text

CLIP_START, CLIP_END = IMAGE_WORD + 1, IMAGE_WORD + 2


class Spanned(Grid):
    """GLM 5's: frames of a clip are laid out as pictures are, between a start and an end of the clip."""

    def clip(self, pixels):
        made = super().clip(pixels)
        made.ids = [CLIP_START, *made.ids, CLIP_END]
        return made


class Rasters(Pictures):
    """Inkling 2's: patches with the channels last, a token each, and the grid of each picture."""

    def image(self, pixels, large):
        rows, columns = 2, 3 if large else 2
        grid = torch.tensor([[1, rows, columns]])
        return Visual(
            [IMAGE] * (rows * columns),
            {"pixel_values": noise(pixels, rows * columns, 8, 8, 3), "image_grid_thw": grid},
        )


# Of many heads, so that few scores tie at zero, where padding would decide which token is picked.
INDEXED = dict(
    num_key_value_heads=4,
    kv_lora_rank=16,
    qk_nope_head_dim=8,
    v_head_dim=8,
    index_topk=4,
    index_head_dim=8,
    index_n_heads=16,
    mlp_layer_types=["dense", "sparse"],
)
LINEAR_THEN_INDEXED = dict(layer_types=["linear_attention", "indexed_attention"])
GLM5 = text(
    "glm5_next_text",
    hc_mult=3,
    q_lora_rank=16,
    qk_rope_head_dim=0,
    index_kpool=2,
    indexer_types=["full", "full"],
    linear_head_dim=8,
    linear_num_heads=4,
    **LINEAR_THEN_INDEXED,
    **INDEXED,
    **ROUTED,
)
# The n-grams of tokens are hashed into a table of their own before block 0.
QWEN4 = text(
    "qwen4_exp_text",
    hc_count=3,
    hc_lowrank=8,
    linear_key_head_dim=8,
    linear_value_head_dim=8,
    linear_num_key_heads=2,
    linear_num_value_heads=4,
    num_experts=4,
    num_experts_per_tok=2,
    moe_intermediate_size=24,
    shared_expert_intermediate_size=24,
    ple_layer_ids=[1],
    heads_per_ngram=2,
    ngram_vocab_size_base=16,
    make_ngram_vocab_size_divisible_by=2,
    split_ngram_parts=2,
    indexer_n_heads=2,
    indexer_kv_heads=1,
    indexer_head_dim=8,
    indexer_budget=4,
    indexer_compress_ratio=2,
    **MROPE,
    **LINEAR_THEN_INDEXED,
)
# The last block reads the first one's keys and values.
LARGE4 = text(
    "mistral_large4_text",
    qk_rope_head_dim=8,
    no_rope_layers=[1, 1],
    kv_source_layers=[0, 0],
    indexer_types=["full", "shared"],
    **INDEXED,
    **ROUTED,
)
INKLING2 = text(
    "inkling2_text",
    unpadded_vocab_size=64,
    n_layers_per_attn_res_block=2,
    **INKLING_ATTENTION,
    **ROUTED,
)

TYPES = {
    "glm5_next": Tiny(
        Spanned(frames_apart=True, clip_token=IMAGE),
        GLM5,
        tower("glm5_next_vision", image_size=16, projection_intermediate_size=32),
        video_start_token_id=CLIP_START,
        video_end_token_id=CLIP_END,
        **GLM_IDS,
    ),
    "qwen4_exp": Tiny(
        Grid(frames_apart=True), QWEN4, tower("qwen4_exp_vision", num_position_embeddings=16), **QWEN_IDS
    ),
    "mistral_large4": Tiny(
        Pixtral(),
        LARGE4,
        PIXTRAL,
        note="without position_ids padding counts in how its queries are scaled",
        image_token_index=IMAGE,
    ),
    "inkling2": Tiny(
        Rasters(),
        INKLING2,
        dict(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            patch_size=4,
            posemb_grid_size=4,
            projection_hidden_dim=32,
            text_hidden_size=32,
            mlp_ratio=2.0,
        ),
        note="every sixth block starts a sum of its own, so that its drift compares two sums",
        image_token_id=IMAGE,
    ),
}
