"""Types of patches and grids, as Qwen-VL's, with other marks around them or a decoder that attends sparsely."""

from dataclasses import dataclass

from conformance.families.grids import PAIR, Grid, Squares
from conformance.layout import END, IMAGE, START, Visual
from conformance.sizes import MLA, MROPE, ROUTED, Tiny, text, vision


@dataclass
class Lined(Grid):
    """HunyuanVL's: an image's tokens are its first, its rows of patches that each end in one more, and its last."""

    temporal: int = 1
    row_ends: int = 3
    has_clips = False

    def image(self, pixels, large):
        rows, columns = 4, 6 if large else 4
        grid = (1, 2 * rows, 2 * columns)
        return Visual(self.wrapped([IMAGE] * (rows * (columns + 1) + 2)), self.tensors(pixels, grid, "image"))


KIMI = text(
    "deepseek_v3",
    num_key_value_heads=4,
    first_k_dense_replace=1,
    n_group=1,
    topk_group=1,
    **MLA,
    **ROUTED,
)
KIMI_VISION = dict(
    patch_size=4,
    pos_emb_height=4,
    pos_emb_width=4,
    num_attention_heads=2,
    num_hidden_layers=2,
    hidden_size=16,
    intermediate_size=32,
)
# Indexers let every query see the two best blocks of four keys.
MINIMAX = text(
    "minimax_m3_vl_text",
    layer_types=["full_attention", "minimax_m3_sparse"],
    mlp_layer_types=["dense", "sparse"],
    dense_intermediate_size=48,
    shared_intermediate_size=24,
    rotary_dim=8,
    num_local_experts=4,
    num_experts_per_tok=2,
    index_n_heads=2,
    index_head_dim=8,
    index_block_size=4,
    index_topk_blocks=2,
)

TYPES = {
    "hunyuan_vl": Tiny(
        Lined(),
        text("hunyuan_vl_text", **MROPE),
        dict(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            patch_size=4,
            max_image_size=32,
            out_hidden_size=32,
        ),
        image_token_id=IMAGE,
        im_start_id=START,
        im_end_id=END,
    ),
    "kimi_k25": Tiny(
        Squares(token_types=None, temporal=1),
        KIMI,
        KIMI_VISION,
        note="clips fail in its own forward",
        projection_hidden_size=16,
        vision_start_token_id=START,
        vision_end_token_id=END,
        **PAIR,
    ),
    "minimax_m3_vl": Tiny(
        Grid(token_types=None, frames_apart=True),
        MINIMAX,
        vision(image_size=16),
        image_token_index=IMAGE,
        video_token_index=PAIR["video_token_id"],
        projector_hidden_size=32,
    ),
}
