"""Types whose pictures are all of one size."""

import torch
from conformance.layout import END, FRAMED, IMAGE, IMAGE_WORD, START, VIDEO, Pictures, Visual, noise
from conformance.sizes import CLIP, SIGLIP, Tiny, text, vision

LLAMA, QWEN2 = text("llama"), text("qwen2")
# 16 patches, of which a projector makes four tokens.
SIGLIP_16 = SIGLIP | dict(image_size=16)
INTERNVIT = dict(image_size=[16, 16], patch_size=[4, 4])
SAM = dict(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    window_size=2,
    global_attn_indexes=[1],
    mlp_dim=32,
)
GOT_SAM = SAM | dict(output_channels=8, image_size=128, patch_size=16)
HYBRID_SAM = SAM | dict(model_type="sam_vision_model", output_channels=4, image_size=32, patch_size=8)
JANUS_VISION = vision("janus_vision_model", projection_dim=32, num_image_tokens=9)
JANUS_VQ = dict(
    embed_dim=4,
    num_embeddings=8,
    latent_channels=8,
    base_channels=32,
    channel_multiplier=[1, 1],
    num_res_blocks=1,
    projection_dim=32,
    image_token_embed_dim=32,
)
RESNET = dict(
    model_type="resnet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", hidden_size=16
)
GEMMA3 = text(
    "gemma3_text",
    query_pre_attn_scalar=8,
    sliding_window=8,
    layer_types=["sliding_attention", "full_attention"],
)


class HighAndLow(Pictures):
    """DeepSeek-VL's hybrid: every picture in two resolutions."""

    def image(self, pixels, large):
        made = super().image(pixels, large)
        made.tensors["high_res_pixel_values"] = noise(pixels, 1, 3, 32, 32)
        return made


class Prefixed(Pictures):
    """PaliGemma's: picture and prompt are a prefix (0) whose tokens see one another; only labels are 1."""

    def beside(self, ids, kinds):
        return {"token_type_ids": torch.zeros_like(ids)}


class Tiled(Pictures):
    """PerceptionLM's: (pictures, tiles, 3, side, side), and clips as (clips, frames, 3, side, side)."""

    has_clips = True

    def image(self, pixels, large):
        tiles = 3 if large else 1
        return Visual([IMAGE] * (9 * tiles), {"pixel_values": noise(pixels, 1, tiles, 3, self.side, self.side)})

    def clip(self, pixels):
        frames = noise(pixels, 1, 2, 3, self.side, self.side)
        return Visual([VIDEO] * 18, {"pixel_values_videos": frames}, is_clip=True)


class VideoLlava(Pictures):
    """Pictures, and clips of two frames that keep the tower's class token."""

    has_clips = True

    def image(self, pixels, large):
        return Visual([IMAGE] * 9, {"pixel_values_images": noise(pixels, 1, 3, self.side, self.side)})

    def clip(self, pixels):
        frames = noise(pixels, 1, 2, 3, self.side, self.side)
        return Visual([VIDEO] * 20, {"pixel_values_videos": frames}, is_clip=True)


TYPES = {
    "llava": Tiny(Pictures(), LLAMA, CLIP, image_token_index=IMAGE),
    "vipllava": Tiny(Pictures(), LLAMA, CLIP, image_token_index=IMAGE, vision_feature_layers=[-2, -1]),
    "video_llava": Tiny(VideoLlava(), LLAMA, CLIP, image_token_index=IMAGE, video_token_index=VIDEO),
    "aya_vision": Tiny(Pictures(4, side=16), text("cohere2"), SIGLIP_16, image_token_index=IMAGE),
    "cohere2_vision": Tiny(
        Pictures(4, side=16), text("cohere2"), SIGLIP_16, image_token_id=IMAGE, alignment_intermediate_size=32
    ),
    "internvl": Tiny(
        Pictures(4, side=16, **FRAMED),
        QWEN2,
        vision("internvl_vision", **INTERNVIT),
        image_token_id=IMAGE,
        image_seq_length=4,
    ),
    "qianfan_ocr": Tiny(
        Pictures(4, side=16, **FRAMED),
        text("qwen3"),
        vision("qianfan_ocr_vision", **INTERNVIT),
        image_token_id=IMAGE,
        image_seq_length=4,
    ),
    "gemma3": Tiny(
        Pictures(4, side=16, token_types="token_type_ids", **FRAMED),
        GEMMA3,
        SIGLIP_16,
        mm_tokens_per_image=4,
        image_token_index=IMAGE,
        boi_token_index=START,
        eoi_token_index=END,
    ),
    "paligemma": Tiny(Prefixed(), text("gemma"), SIGLIP, image_token_index=IMAGE, projection_dim=32),
    "deepseek_vl": Tiny(Pictures(), LLAMA, SIGLIP, image_token_id=IMAGE),
    "deepseek_vl_hybrid": Tiny(
        HighAndLow(),
        LLAMA,
        SIGLIP,
        high_res_vision_config=HYBRID_SAM | dict(global_attn_indexes=[0, 1]),
        image_token_id=IMAGE,
    ),
    "janus": Tiny(Pictures(**FRAMED), LLAMA, JANUS_VISION, vq_config=JANUS_VQ, image_token_id=IMAGE),
    "got_ocr2": Tiny(Pictures(4, side=128, **FRAMED), QWEN2, GOT_SAM, image_token_index=IMAGE, image_seq_length=4),
    "pp_chart2table": Tiny(
        Pictures(4, side=128, **FRAMED), QWEN2, GOT_SAM, image_token_index=IMAGE, image_seq_length=4
    ),
    "ovis2": Tiny(
        Pictures(before=(IMAGE_WORD,), after=(IMAGE_WORD + 1, IMAGE_WORD + 4)),
        QWEN2,
        vision("ovis2_vision", vocab_size=20, num_visual_indicator_tokens=5),
        image_token_id=IMAGE,
        visual_indicator_token_ids=[IMAGE_WORD + n for n in range(5)],
        hidden_size=32,
    ),
    "perception_lm": Tiny(
        Tiled(),
        LLAMA,
        CLIP | dict(model_args=dict(embed_dim=16)),
        note="tested with a CLIP tower in place of timm's",
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    ),
    "fast_vlm": Tiny(
        Pictures(4, side=16),
        QWEN2,
        RESNET,
        note="tested with a ResNet tower in place of timm's",
        image_token_index=IMAGE,
        image_seq_length=4,
    ),
}
