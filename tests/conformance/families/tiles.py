"""Types whose pictures come in tiles, in sizes of their own, or padded to the largest."""

from dataclasses import dataclass

import torch
from conformance.layout import BOS, END, FRAMED, IMAGE, ROW, START, VIDEO, Pictures, Visual, noise
from conformance.sizes import CLIP, SIGLIP, Tiny, text, vision
from torch.nn import functional as F


@dataclass
class Anyres(Pictures):
    """LLaVA-NeXT's: the whole picture and its tiles of nine patches; the tiles' rows end in a learned token."""

    row_ends: int = 1

    def image(self, pixels, large):
        rows, columns = (2, 2) if large else (1, 2)
        tiles = noise(pixels, 1, 1 + rows * columns, 3, self.side, self.side)
        size = torch.tensor([[self.side * rows, self.side * columns]])
        return Visual([IMAGE] * (9 + 3 * rows * (3 * columns + 1)), {"pixel_values": tiles, "image_sizes": size})


@dataclass
class AnyresClips(Anyres):
    """The same and clips, whose frames are pooled; ``clip_tokens`` of two frames."""

    clip_tokens: int = 2
    has_clips = True

    def clip(self, pixels):
        frames = noise(pixels, 1, 2, 3, self.side, self.side)
        return Visual([VIDEO] * self.clip_tokens, {"pixel_values_videos": frames}, is_clip=True)


class OneVision(AnyresClips):
    """LLaVA-OneVision's: how many pictures each sample has; a clip ends in a learned token."""

    def collate(self, rows):
        made = super().collate(rows)
        pictures = [sum(not visual.is_clip for visual in row) for row in rows]
        return made | {"batch_num_images": torch.tensor(pictures)} if "pixel_values" in made else made


class Padded(Pictures):
    """Idefics': (batch, most pictures, 3, side, side), and which pixels are no padding."""

    def image(self, pixels, large):
        made = super().image(pixels, large)
        made.tensors["pixel_attention_mask"] = torch.ones(1, self.side, self.side, dtype=torch.long)
        return made

    def collate(self, rows):
        each = [super(Padded, self).collate([row]) for row in rows]
        keys = dict.fromkeys(key for one in each for key in one)
        most = max(map(len, rows))
        return {key: torch.stack([filled(one.get(key), most, each, key) for one in each]) for key in keys}


def filled(tensor, most, each, key):
    """``tensor`` with zeros for the pictures that a sample lacks."""
    if tensor is None:
        tensor = next(one[key] for one in each if key in one)[:0]
    return F.pad(tensor, [0, 0] * (tensor.dim() - 1) + [0, most - len(tensor)])


@dataclass
class Pixtral(Pictures):
    """Pixtral's: pictures of sizes of their own, padded; each row of tokens may end in a word (``breaks``)."""

    breaks: bool = True

    def image(self, pixels, large):
        rows, columns = 2, 3 if large else 2
        line = [IMAGE] * columns
        ids = [*([*line, ROW] * rows)[:-1], END] if self.breaks else line * rows
        height, width = 8 * rows, 8 * columns
        size = torch.tensor([[height, width]])
        return Visual(ids, {"pixel_values": noise(pixels, 1, 3, height, width), "image_sizes": size})


class Naflex(Pictures):
    """SigLIP 2's flattened patches, padded, and the patch grid of each; blocks of 2 x 2 merge."""

    def image(self, pixels, large):
        rows, columns = 2, 4 if large else 2
        tensors = {
            "pixel_values": noise(pixels, 1, rows * columns, 48),
            "pixel_attention_mask": torch.ones(1, rows * columns, dtype=torch.long),
            "spatial_shapes": torch.tensor([[rows, columns]]),
        }
        return Visual(self.wrapped([IMAGE] * (rows * columns // 4)), tensors)


class Placed(Pictures):
    """Gemma 4's flattened patches, and the place (x, y) of each; blocks of 2 x 2 merge."""

    def image(self, pixels, large):
        places = torch.tensor([[[x, y] for y in range(4) for x in range(4)]])
        tensors = {"pixel_values": noise(pixels, 1, 16, 48), "image_position_ids": places}
        return Visual(self.wrapped([IMAGE] * 4), tensors)


class Raw(Pictures):
    """Fuyu's: no tower, the decoder reads projected patches; rows end in a word."""

    def image(self, pixels, large):
        return Visual([IMAGE, IMAGE, ROW] * 2 + [BOS], {"pixel_values": noise(pixels, 1, 4, 48)})


LLAMA, QWEN2 = text("llama"), text("qwen2")
TILINGS = [[12, 24], [24, 12], [24, 24]]
PIXTRAL = vision("pixtral", image_size=24, head_dim=8)
PERCEIVER = dict(
    hidden_size=32,
    resampler_n_latents=2,
    resampler_depth=1,
    resampler_n_heads=2,
    resampler_head_dim=8,
    num_key_value_heads=1,
)
GEMMA4 = text(
    "gemma4_text",
    vocab_size_per_layer_input=64,
    hidden_size_per_layer_input=8,
    layer_types=["sliding_attention", "full_attention"],
    sliding_window=8,
    global_head_dim=8,
)
GEMMA4_VISION = vision(
    "gemma4_vision", head_dim=8, num_key_value_heads=2, pooling_kernel_size=2, position_embedding_size=16
)

TYPES = {
    "llava_next": Tiny(Anyres(), LLAMA, CLIP, image_token_index=IMAGE, image_grid_pinpoints=TILINGS),
    "llava_next_video": Tiny(
        AnyresClips(), LLAMA, CLIP, image_token_index=IMAGE, video_token_index=VIDEO, image_grid_pinpoints=TILINGS
    ),
    "llava_onevision": Tiny(
        OneVision(clip_tokens=9),
        QWEN2,
        SIGLIP,
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=TILINGS,
    ),
    "idefics2": Tiny(
        Padded(2, before=(START,), after=(START,)),
        text("mistral"),
        vision("idefics2_vision"),
        perceiver_config=PERCEIVER,
        image_token_id=IMAGE,
    ),
    "idefics3": Tiny(
        Padded(4, side=16, before=(START,), after=(START,)),
        LLAMA,
        vision("idefics3_vision", image_size=16),
        image_token_id=IMAGE,
    ),
    "smolvlm": Tiny(
        Padded(4, side=16, before=(START,), after=(START,)),
        LLAMA,
        vision("smolvlm_vision", image_size=16),
        image_token_id=IMAGE,
    ),
    "mistral3": Tiny(Pixtral(), text("mistral"), PIXTRAL, image_token_index=IMAGE),
    "lighton_ocr": Tiny(Pixtral(breaks=False), text("qwen3"), PIXTRAL, image_token_id=IMAGE),
    "lfm2_vl": Tiny(
        Naflex(**FRAMED),
        text("lfm2", layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False),
        vision("siglip2_vision_model", num_patches=16, vision_use_head=False),
        image_token_id=IMAGE,
        projector_hidden_size=32,
    ),
    "gemma4": Tiny(
        Placed(token_types="mm_token_type_ids", **FRAMED),
        GEMMA4,
        GEMMA4_VISION,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        boi_token_id=START,
        eoi_token_id=END,
    ),
    "fuyu": Tiny(Raw(), text("persimmon"), patch_size=4, image_size=16, image_token_id=IMAGE),
}
