"""Types that read pages: tiles beside the whole page, and features that enter several blocks of the decoder."""

from dataclasses import dataclass

import torch
from conformance.families.tiles import Anyres
from conformance.layout import FIRST_WORD, IMAGE, START, Pictures, Visual, noise
from conformance.sizes import Tiny, text, vision
from torch.nn.utils.rnn import pad_sequence


@dataclass
class Pooled(Anyres):
    """Granite 4 Vision's: LLaVA-NeXT's with four tokens a tile."""

    def image(self, pixels, large):
        made = super().image(pixels, large)
        rows, columns = (2, 2) if large else (1, 2)
        return Visual([IMAGE] * (4 + 2 * rows * (2 * columns + 1)), made.tensors)


class PaddedTiles(Pictures):
    """Granite-Docling's: (batch, most tiles, 3, side, side), and which tiles are no padding; the page comes last."""

    def image(self, pixels, large):
        tile = [START, FIRST_WORD, *[IMAGE] * self.tokens]
        count = 3 if large else 1
        ids = [*tile * count, START] if large else tile
        tensors = {"pixel_values": noise(pixels, count, 3, self.side, self.side)}
        return Visual(ids, tensors | {"pixel_attention_mask": torch.ones(count, dtype=torch.bool)})

    def collate(self, rows):
        each = [super(PaddedTiles, self).collate([row]) for row in rows]
        brought = {key: tensor[:0] for one in each for key, tensor in one.items()}
        return {key: pad_sequence([one.get(key, none) for one in each], True) for key, none in brought.items()}


@dataclass
class Crops(Pictures):
    """DeepSeek-OCR 2's: the page, of which a larger one is cut into two tiles as well; then one learned token.

    Whatever the size of a picture, its tower makes 144 tokens of it (or 256).
    """

    tokens: int = 144
    row_ends: int = 1

    def image(self, pixels, large):
        tensors = {"pixel_values": noise(pixels, 1, 3, self.side, self.side)}
        tiles = 2 if large else 0
        if tiles:
            tensors["pixel_values_local"] = noise(pixels, tiles, 3, self.side, self.side)
        tensors["num_local_patches"] = torch.tensor([tiles])
        return Visual([IMAGE] * (self.tokens * (1 + tiles) + 1), tensors)


@dataclass
class Rows(Pictures):
    """Unlimited-OCR's: the same, where rows of tokens, three of a page and two of a tile, end in a learned one, too."""

    row_ends: int = 2

    def image(self, pixels, large):
        tensors = {"pixel_values": noise(pixels, 1, 3, 24, 24)}
        tiles = 2 if large else 0
        if tiles:
            tensors["pixel_values_local"] = noise(pixels, tiles, 3, 16, 16)
        tensors |= {"num_local_patches": torch.tensor([tiles]), "patches_grid": torch.tensor([[max(tiles, 1), 1]])}
        return Visual([IMAGE] * (3 * (3 + 1) + 1 + (2 * (2 * tiles + 1) if tiles else 0)), tensors)

    def collate(self, rows):
        """Its processor keeps counts as lists."""
        made = super().collate(rows)
        return {key: value if value.is_floating_point() else value.tolist() for key, value in made.items()}


FOUR = dict(
    n_routed_experts=4,
    n_shared_experts=1,
    num_experts_per_tok=2,
    moe_intermediate_size=24,
    mlp_layer_types=["dense", "sparse"],
)
SAM = dict(
    hidden_size=16,
    output_channels=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    window_size=2,
    global_attn_indexes=[1],
    mlp_dim=32,
    downsample_channels=[8, 16],
)
ENCODER = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
CLIP_64 = vision("clip_vision_model", hidden_size=64, image_size=16)
# Where tokens of pictures stand the decoder reads zeros, to which features are added before blocks 0, 1 and 2.
GRANITE4 = dict(
    downsample_rate="1/2",
    deepstack_layer_map=[[-2, 1], [-1, 0]],
    spatial_target_layers=[2, 3, 4, 5],
    qformer_config=dict(num_hidden_layers=1, intermediate_size=32),
)

TYPES = {
    "granite4_vision": Tiny(
        Pooled(side=16),
        text("granite4_vision_text", num_hidden_layers=3),
        CLIP_64,
        image_token_index=IMAGE,
        image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]],
        **GRANITE4,
    ),
    "granite_docling": Tiny(
        PaddedTiles(4, side=16),
        text("granite_docling_text"),
        vision(image_size=16, out_hidden_size=32, scale_factor=2, deepstack_visual_indexes=[0]),
        image_token_id=IMAGE,
    ),
    "deepseek_ocr2": Tiny(
        Crops(side=16),
        text("deepseek_ocr2_text", **FOUR),
        dict(
            sam_config=SAM | dict(image_size=16, patch_size=4),
            encoder_config=ENCODER | dict(num_key_value_heads=1, vocab_size=8),
        ),
        image_token_id=IMAGE,
    ),
    "unlimited_ocr": Tiny(
        Rows(),
        text("unlimited_ocr_text", n_group=1, topk_group=1, sliding_window=8, **FOUR),
        dict(
            sam_config=SAM | dict(image_size=24, patch_size=2),
            encoder_config=ENCODER | dict(image_size=12, patch_size=4),
        ),
        image_token_id=IMAGE,
    ),
}
