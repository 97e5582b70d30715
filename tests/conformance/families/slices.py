"""Types that show a picture whole and again in slices: MiniCPM's, whose patches lie in one long row, and the like."""

from dataclasses import dataclass

import torch
from conformance.families.grids import QWEN35
from conformance.layout import END, FIRST_WORD, IMAGE, IMAGE_WORD, ROW, START, VIDEO, Pictures, Visual, noise
from conformance.sizes import ROUTED, Tiny, text, vision
from torch.nn import functional as F

SLICE, SLICE_END = IMAGE_WORD + 1, IMAGE_WORD + 2


@dataclass
class Slices(Pictures):
    """MiniCPM's: the patches (1, 3, 4, 4 x patches) of all pictures and slices, and the patch grid of each.

    A square of ``merged`` x ``merged`` patches becomes a token; the columns of slices lie side by side, and a row of
    them ends in a line break.
    """

    merged: int = 4
    has_clips = True

    def image(self, pixels, large):
        slices = [[(4, 4), (4, 4)]] * 2 if large else []
        return self.visual(pixels, [((4, 8), slices)], "", IMAGE)

    def clip(self, pixels):
        return self.visual(pixels, [((4, 8), [])] * 2, "_videos", VIDEO, is_clip=True)

    def visual(self, pixels, frames, ending, token, is_clip=False):
        ids, grids = [], []
        for whole, rows in frames:
            ids += [START, *self.of(whole, token), END]
            for number, row in enumerate(rows):
                ids += [ROW] * (number > 0) + [i for one in row for i in (SLICE, *self.of(one, token), SLICE_END)]
            grids += [whole, *(one for row in rows for one in row)]
        sizes = torch.tensor(grids, dtype=torch.int32)
        patches = noise(pixels, 1, 3, 4, 4 * int(sizes.prod(-1).sum()))
        return Visual(ids, {f"pixel_values{ending}": patches, f"target_sizes{ending}": sizes}, is_clip)

    def of(self, grid, token):
        return [token] * (grid[0] * grid[1] // self.merged**2)

    def collate(self, rows):
        visuals = [visual for row in rows for visual in row]
        made = {}
        for key in dict.fromkeys(key for visual in visuals for key in visual.tensors):
            tensors = [visual.tensors[key] for visual in visuals if key in visual.tensors]
            made[key] = torch.cat(tensors, dim=-1 if key.startswith("pixel") else 0)
        return made


@dataclass
class Pooled(Pictures):
    """Molmo 2's: flattened patches of the whole picture and of its crops, and which four of them become a token.

    What is projected is added to the image token's own embedding; all of a sample's image tokens, and those around
    them, see one another.
    """

    has_clips = True

    def image(self, pixels, large):
        grids = torch.tensor([[2, 2, 2, 4 if large else 2]])
        ids = [IMAGE_WORD, *self.lines(2, 2), END, START, *self.lines(2, int(grids[0, 3])), END]
        crops = 3 if large else 2
        # Crops side by side: a row of the picture's patches runs through both.
        detail = torch.arange(16, 16 * crops).reshape(-1, 4, 4).movedim(0, 1).flatten(1)
        pooling = torch.cat([squares(torch.arange(16).reshape(4, 4)), squares(detail)])
        tensors = {"pixel_values": noise(pixels, crops, 16, 48), "image_token_pooling": pooling, "image_grids": grids}
        return Visual(ids, tensors | {"image_num_crops": torch.tensor([crops])})

    def clip(self, pixels):
        frames = torch.arange(32).reshape(2, 4, 4)
        tensors = {
            "pixel_values_videos": noise(pixels, 2, 16, 48),
            "video_token_pooling": torch.cat([squares(frame) for frame in frames]),
            "video_grids": torch.tensor([[2, 2, 2]]),
        }
        return Visual([FIRST_WORD, START, *[IMAGE] * 4, END] * 2, tensors, is_clip=True)

    def lines(self, rows, columns):
        return [*[IMAGE] * columns, ROW] * rows

    def collate(self, rows):
        """Patches are numbered through the batch."""
        keys = {"pixel_values": "image_token_pooling", "pixel_values_videos": "video_token_pooling"}
        for brought, pooling in keys.items():
            first = 0
            for tensors in (visual.tensors for row in rows for visual in row if brought in visual.tensors):
                tensors[pooling] = tensors[pooling] + first
                first += 16 * len(tensors[brought])
        return super().collate(rows)

    def beside(self, ids, kinds):
        marks = torch.tensor([IMAGE, ROW, START, END, IMAGE_WORD])
        return {"mm_token_type_ids": torch.isin(ids, marks).long()}


class Local(Pictures):
    """Step 3.7's: local crops, smaller than the whole picture, in a tensor of their own, and how many each has."""

    def image(self, pixels, large):
        crops = 2 if large else 0
        tensors = {"pixel_values": noise(pixels, 1, 3, 32, 32), "num_local_patches": torch.tensor([crops])}
        if crops:
            tensors["pixel_values_local"] = noise(pixels, crops, 3, 16, 16)
        # One crop above the other: only the first row of them ends in a line break.
        ids = ([SLICE, IMAGE, SLICE_END, ROW] * crops)[:-1]
        return Visual([*ids, START, *[IMAGE] * 4, END], tensors)


def squares(numbers):
    """(rows, columns) of patches as (tokens, 4), a square of 2 x 2 each."""
    return F.unfold(numbers[None, None].float(), 2, stride=2)[0].mT.long()


MINICPM = dict(insert_layer_id=0, image_token_id=IMAGE, video_token_id=VIDEO)
MARKS = dict(image_start_id=START, image_end_id=END, slice_start_id=SLICE, slice_end_id=SLICE_END, newline_id=ROW)
STEP = text(
    "step3p5",
    layer_types=["sliding_attention", "full_attention"],
    sliding_window=8,
    num_sliding_attention_heads=2,
    mlp_layer_types=["dense", "sparse"],
    share_expert_dim=24,
    **ROUTED,
)

TYPES = {
    "minicpmv4_6": Tiny(Slices(), QWEN35, vision("minicpmv4_6_vision", image_size=32), **MINICPM),
    "minicpmv4_7": Tiny(
        Slices(token_types="mm_token_type_ids"),
        QWEN35,
        vision("minicpmv4_7_vision", image_size=32),
        **MINICPM,
        **MARKS,
    ),
    "minicpm_ocr": Tiny(
        Slices(merged=2), QWEN35, vision("minicpm_ocr_vision", image_size=32), **MINICPM, downsample_mode="4x"
    ),
    "molmo2": Tiny(
        Pooled(),
        text("molmo2_text", additional_vocab_size=2),
        vision(num_key_value_heads=2, head_dim=8, image_size=[16, 16]),
        adapter_config=dict(
            vision_feature_layer=[1, 0],
            hidden_size=16,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            intermediate_size=32,
            text_hidden_size=32,
        ),
        image_patch_id=IMAGE,
        image_start_token_id=START,
        low_res_image_start_token_id=IMAGE_WORD,
        image_end_token_id=END,
        frame_start_token_id=START,
        frame_end_token_id=END,
    ),
    "step3p7": Tiny(
        Local(),
        STEP,
        vision(image_size=32, mlp_ratio=2.0, max_position_embeddings=64),
        image_token_id=IMAGE,
    ),
}
