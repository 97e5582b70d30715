"""Types that bridge picture and text in other ways: queries, codes of a codebook, cross-attention."""

from dataclasses import dataclass

import torch
from conformance.layout import (
    END,
    FIRST_WORD,
    FRAMED,
    IMAGE,
    IMAGE_WORD,
    ROW,
    START,
    VIDEO,
    VOCABULARY,
    Pictures,
    Visual,
    noise,
)
from conformance.sizes import ENDS, Tiny, text, vision


class Asked(Pictures):
    """InstructBLIP's: the Q-Former reads the question as well."""

    def beside(self, ids, kinds):
        question = FIRST_WORD + torch.arange(4).expand(len(ids), -1)
        return {"qformer_input_ids": question, "qformer_attention_mask": torch.ones_like(question)}


class AskedClips(Asked):
    """InstructBLIP-Video's: every picture is a clip of four frames."""

    has_clips = True

    def image(self, pixels, large):
        frames = noise(pixels, 1, 4, 3, self.side, self.side)
        return Visual([VIDEO] * (4 * self.tokens), {"pixel_values": frames}, is_clip=True)

    def clip(self, pixels):
        return self.image(pixels, large=False)


class Marked(Pictures):
    """Kosmos-2's: no image token, but ordinary ids, and a mask that says where the picture goes."""

    def image(self, pixels, large):
        ids = range(IMAGE_WORD, IMAGE_WORD + self.tokens)
        return Visual([START, *ids, END], self.tensors(pixels))

    def tensors(self, pixels):
        return {"pixel_values": noise(pixels, 1, 3, self.side, self.side)}

    def beside(self, ids, kinds):
        return {"image_embeds_position_mask": ((ids >= IMAGE_WORD) & (ids < IMAGE_WORD + self.tokens)).long()}


class MarkedPatches(Marked):
    """Kosmos-2.5's: flattened patches of 16 x 16, each led by its row and column, from 1."""

    def tensors(self, pixels):
        places = torch.tensor([[[row, column] for row in (1.0, 2.0) for column in (1.0, 2.0)]])
        return {"flattened_patches": torch.cat([places, noise(pixels, 1, 4, 3 * 16 * 16)], dim=-1)}


@dataclass
class Codes(Pictures):
    """Emu3's: codes of a codebook, with the size of each picture; rows of codes end in a token of their own."""

    row_ends: int = 1

    def image(self, pixels, large):
        made = super().image(pixels, large)
        made.tensors["image_sizes"] = torch.tensor([[self.side, self.side]])
        return made


class Tiles(Pictures):
    """Mllama's: (batch, pictures, tiles, 3, side, side), and which token sees which tile."""

    beside_the_decoder = True

    def image(self, pixels, large):
        tensors = {
            "pixel_values": noise(pixels, 1, 1, 2, 3, self.side, self.side),
            "aspect_ratio_ids": torch.tensor([[2]]),
            "aspect_ratio_mask": torch.ones(1, 1, 2, dtype=torch.long),
        }
        return Visual([IMAGE], tensors)

    def beside(self, ids, kinds):
        if not (ids == IMAGE).any():
            return {}
        seen = (ids == IMAGE).cumsum(1).clamp(max=1)
        return {"cross_attention_mask": seen[:, :, None, None].repeat(1, 1, 1, 2)}


OPT = dict(
    model_type="opt",
    vocab_size=VOCABULARY,
    hidden_size=32,
    num_hidden_layers=2,
    ffn_dim=48,
    num_attention_heads=4,
    max_position_embeddings=128,
    word_embed_proj_dim=32,
    **ENDS,
)
QFORMER = dict(
    vocab_size=VOCABULARY,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    encoder_hidden_size=16,
    cross_attention_frequency=1,
)
BLIP = dict(text_config=OPT, vision_config=vision(), qformer_config=QFORMER, num_query_tokens=3)
KOSMOS = dict(
    vocab_size=VOCABULARY, embed_dim=32, layers=2, ffn_dim=48, attention_heads=4, max_position_embeddings=128, **ENDS
)
KOSMOS25_VISION = vision(head_dim=8, patch_embed_hidden_size=3 * 16 * 16, max_num_patches=16)
CODEBOOK = dict(embed_dim=4, latent_channels=4, base_channels=32, channel_multiplier=[1, 1, 1], num_res_blocks=1)
CODES = range(50, 58)
CHAMELEON = {key: value for key, value in text("").items() if key not in ("model_type", "head_dim")}
MLLAMA_VISION = dict(
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_global_layers=1,
    attention_heads=2,
    image_size=12,
    patch_size=4,
    max_num_tiles=2,
    vision_output_dim=32,
    intermediate_layers_indices=[0],
    supported_aspect_ratios=[[1, 1], [1, 2]],
)

TYPES = {
    "blip-2": Tiny(Pictures(3), **BLIP, image_token_index=IMAGE),
    "instructblip": Tiny(Asked(3), **BLIP, image_token_index=IMAGE),
    "instructblipvideo": Tiny(AskedClips(3), **BLIP, video_token_index=VIDEO),
    "kosmos-2": Tiny(Marked(3), KOSMOS, vision("kosmos_2_vision_model"), latent_query_num=3),
    "kosmos-2.5": Tiny(MarkedPatches(3), KOSMOS, KOSMOS25_VISION, latent_query_num=3),
    "chameleon": Tiny(
        Pictures(**FRAMED),
        **CHAMELEON,
        vq_config=CODEBOOK | dict(num_embeddings=8, resolution=12),
        vocabulary_map={"<image>": IMAGE} | {f"IMGIMG{'ABCDEFGH'[n]}Z": code for n, code in enumerate(CODES)},
    ),
    "emu3": Tiny(
        Codes(12, **FRAMED),
        text("emu3_text_model"),
        vq_config=CODEBOOK
        | dict(
            codebook_size=8,
            attn_resolutions=[],
            hidden_size=32,
            num_attention_heads=1,
            temporal_downsample_factor=1,
        ),
        vocabulary_map={"<image>": IMAGE, "<|extra_200|>": ROW}
        | {f"<|visual token {n:06d}|>": code for n, code in enumerate(CODES)},
    ),
    "mllama": Tiny(
        Tiles(),
        text("mllama_text_model", num_hidden_layers=3, cross_attention_layers=[1]),
        MLLAMA_VISION,
        image_token_index=IMAGE,
    ),
}
