"""Types made after an earlier one: its tower or layout, with another decoder or other names."""

import torch
from conformance.families.grids import DEEPSTACK, GLM_IDS, QWEN_IDS, Grid, tower
from conformance.layout import END, FIRST_WORD, FRAMED, IMAGE, START, VIDEO, Pictures, Visual, noise
from conformance.sizes import MROPE, Tiny, text
from torch.nn import functional as F


class Merged(Pictures):
    """Gemma 4 Unified's patches, a token each, padded to six, and the place (x, y) of each; a clip is its frames."""

    has_clips = True

    def image(self, pixels, large):
        count = 6 if large else 4
        patches, places = placed(pixels, 1, count)
        return Visual(self.wrapped([IMAGE] * count), {"pixel_values": patches, "image_position_ids": places})

    def clip(self, pixels):
        patches, places = placed(pixels, 2, 4)
        tensors = {"pixel_values_videos": patches, "video_position_ids": places}
        ids = [FIRST_WORD, *self.wrapped([VIDEO] * 4)] * 2
        return Visual(ids, tensors | {"num_frames_per_video": torch.tensor([2])}, is_clip=True)


def placed(pixels, frames, count):
    places = torch.tensor([[place % 2, place // 2] for place in range(count)]).expand(frames, -1, -1)
    missing = (0, 0, 0, 6 - count)
    return F.pad(noise(pixels, frames, count, 3 * 4 * 4), missing), F.pad(places, missing, value=-1)


COMPASS = text(
    "cohere_compass_text",
    layer_types=["sliding_attention", "full_attention"],
    sliding_window=8,
    rope_parameters=dict(sliding_attention=MROPE["rope_parameters"], full_attention=None),
)

TYPES = {
    "cohere_compass": Tiny(Grid(frames_apart=True), COMPASS, tower("cohere_compass_vision", **DEEPSTACK), **QWEN_IDS),
    "glmga": Tiny(
        Grid(frames_apart=True, clip_token=IMAGE),
        text("glm4v_text", **MROPE),
        tower("glm4v_vision", image_size=16),
        **GLM_IDS,
    ),
    "gemma4_unified": Tiny(
        Merged(token_types="mm_token_type_ids", **FRAMED),
        text(
            "gemma4_unified_text",
            layer_types=["sliding_attention", "full_attention"],
            sliding_window=8,
            global_head_dim=8,
        ),
        dict(patch_size=2, pooling_kernel_size=2, mm_embed_dim=32, mm_posemb_size=8, output_proj_dims=32),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        boi_token_id=START,
        eoi_token_id=END,
    ),
}
