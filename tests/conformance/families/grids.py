"""Types in the manner of Qwen-VL: flattened patches of all pictures, and the grid of each."""

from dataclasses import dataclass

import torch
from conformance.layout import END, FIRST_WORD, IMAGE, START, VIDEO, Pictures, Visual, noise
from conformance.sizes import MROPE, Tiny, text, vision


@dataclass
class Grid(Pictures):
    """Patches of 4 x 4 in blocks of 2 x 2, a token each; grids are (time, height, width).

    ``frames_apart``: a time stamp before each frame of a clip, which is wrapped by itself.
    """

    token_types: str | None = "mm_token_type_ids"
    before: tuple[int, ...] = (START,)
    after: tuple[int, ...] = (END,)
    temporal: int = 2
    frames_apart: bool = False
    clip_token: int = VIDEO
    has_clips = True

    def image(self, pixels, large):
        grid = (1, 4, 6 if large else 4)
        return Visual(self.wrapped([IMAGE] * (grid[1] * grid[2] // 4)), self.tensors(pixels, grid, "image"))

    def clip(self, pixels):
        tensors = self.tensors(pixels, (2, 4, 4), "video")
        frame = [self.clip_token] * 4
        ids = [FIRST_WORD, *self.wrapped(frame)] * 2 if self.frames_apart else self.wrapped(frame * 2)
        return Visual(ids, tensors, is_clip=True)

    def tensors(self, pixels, grid, modality):
        patches = noise(pixels, grid[0] * grid[1] * grid[2], 3 * self.temporal * 4 * 4)
        key = "pixel_values" if modality == "image" else "pixel_values_videos"
        return {key: patches, f"{modality}_grid_thw": torch.tensor([grid])}


class Timed(Grid):
    """Qwen2.5-VL's: the seconds between a clip's steps."""

    def clip(self, pixels):
        made = super().clip(pixels)
        made.tensors["second_per_grid_ts"] = torch.tensor([0.5])
        return made


class Merged(Grid):
    """VideoLLaMA 3's: how many patches merge is told for each picture, and which tokens of a clip are kept."""

    def tensors(self, pixels, grid, modality):
        made = super().tensors(pixels, grid, modality) | {f"{modality}_merge_sizes": torch.tensor([2])}
        kept = {"video_compression_mask": torch.ones(8, dtype=torch.bool)}
        return made | kept if modality == "video" else made


class Squares(Grid):
    """PaddleOCR-VL's patches are (3, 4, 4); its processor takes no clips."""

    has_clips = False

    def tensors(self, pixels, grid, modality):
        made = super().tensors(pixels, grid, modality)
        return made | {"pixel_values": made["pixel_values"].reshape(-1, 3, 4, 4)}


def tower(kind, **more):
    sizes = dict(
        depth=2,
        hidden_size=16,
        intermediate_size=32,
        num_heads=2,
        patch_size=4,
        spatial_merge_size=2,
        temporal_patch_size=2,
        out_hidden_size=32,
    )
    return dict(model_type=kind) | sizes | more


PAIR = dict(image_token_id=IMAGE, video_token_id=VIDEO)
QWEN_IDS = PAIR | dict(vision_start_token_id=START, vision_end_token_id=END)
GLM_IDS = PAIR | dict(image_start_token_id=START, image_end_token_id=END)
WINDOWS = dict(window_size=16, fullatt_block_indexes=[1])
DEEPSTACK = dict(num_position_embeddings=16, deepstack_visual_indexes=[0])
# One linear-attention block and one full-attention block.
QWEN35 = text(
    "qwen3_5_text",
    rope_parameters=MROPE["rope_parameters"] | dict(partial_rotary_factor=1.0),
    layer_types=["linear_attention", "full_attention"],
    linear_key_head_dim=8,
    linear_value_head_dim=8,
    linear_num_key_heads=2,
    linear_num_value_heads=4,
)
MUSE_VISION = vision(pos_emb_height=4, pos_emb_width=4, max_position_embeddings=16)
CONV_THEN_ATTENTION = dict(layer_types=["conv", "full_attention"])
SLIDING_THEN_FULL = dict(layer_types=["sliding_attention", "full_attention"], sliding_window=8)

TYPES = {
    "qwen2_vl": Tiny(
        Grid(),
        text("qwen2_vl_text", **MROPE),
        dict(depth=2, embed_dim=16, hidden_size=32, mlp_ratio=2, num_heads=2, patch_size=4),
        **QWEN_IDS,
    ),
    "qwen2_5_vl": Tiny(Timed(), text("qwen2_5_vl_text", **MROPE), tower("qwen2_5_vl", **WINDOWS), **QWEN_IDS),
    "qwen3_vl": Tiny(
        Grid(frames_apart=True), text("qwen3_vl_text", **MROPE), tower("qwen3_vl_vision", **DEEPSTACK), **QWEN_IDS
    ),
    "cosmos3_omni": Tiny(
        Grid(frames_apart=True), text("qwen3_vl_text", **MROPE), tower("qwen3_vl_vision", **DEEPSTACK), **QWEN_IDS
    ),
    "qwen3_5": Tiny(Grid(frames_apart=True), QWEN35, tower("qwen3_5_vision", num_position_embeddings=16), **QWEN_IDS),
    "glm4v": Tiny(
        Grid(frames_apart=True, clip_token=IMAGE),
        text("glm4v_text", **MROPE),
        tower("glm4v_vision", image_size=16),
        **GLM_IDS,
    ),
    "glm46v": Tiny(
        Grid(frames_apart=True, clip_token=IMAGE),
        text("glm4v_text", **MROPE),
        tower("glm4v_vision", image_size=16),
        **GLM_IDS,
    ),
    "glm_ocr": Tiny(
        Grid(frames_apart=True, clip_token=IMAGE),
        text("glm_ocr_text", **MROPE),
        tower("glm_ocr_vision", image_size=16),
        **GLM_IDS,
    ),
    "exaone4_5": Tiny(
        Grid(token_types=None),
        text("exaone4", layer_types=["full_attention"] * 2),
        tower("exaone4_5_vision", num_key_value_heads=1, **WINDOWS),
        **PAIR,
    ),
    "hyperclovax_vision_v2": Tiny(
        Grid(token_types=None), text("hyperclovax"), tower("qwen2_5_vl_vision", **WINDOWS), **PAIR
    ),
    "paddleocr_vl": Tiny(
        Squares(temporal=1), text("paddleocr_vl_text", **MROPE), vision("paddleocr_vl_vision"), **QWEN_IDS
    ),
    "video_llama_3": Tiny(
        Merged(token_types=None, before=(), after=(), temporal=1), text("qwen2"), vision("video_llama_3_vision"), **PAIR
    ),
    "cosmos3_edge": Tiny(
        Grid(frames_apart=True, temporal=1),
        text("cosmos3_edge_text", **MROPE),
        vision("cosmos3_edge_vision", num_patches=16),
        projector_hidden_size=32,
        **QWEN_IDS,
    ),
    "lfm3_vl": Tiny(
        Grid(token_types=None, frames_apart=True),
        text("lfm3", **CONV_THEN_ATTENTION),
        vision("lfm3_vl_vision", num_key_value_heads=1, **CONV_THEN_ATTENTION),
        projector_hidden_size=32,
        **QWEN_IDS,
    ),
    "muse_glimmer": Tiny(
        Grid(token_types=None),
        text("muse_glimmer_text", **SLIDING_THEN_FULL),
        MUSE_VISION,
        out_hidden_size=64,
        projector_hidden_size=32,
        **PAIR,
    ),
}
