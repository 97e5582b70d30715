import numpy as np
import pytest
import torch
from conformance.table import TYPES, Samples, build
from helpers.tiny import make_batch, random_llava
from PIL import Image
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from atv.model.lvlm import LVLM
from atv.model.visual_grid import VisualGrid, seen_picture, visual_grid

# Of the conformance suite's pictures: 3 x 3 patches, or 2 x 2 tokens (2 x 3 of a large one) after pooling.
KNOWN = {
    ("llava", "image"): VisualGrid(3, 3),
    ("paligemma", "image"): VisualGrid(3, 3),
    ("llava_next", "image"): VisualGrid(3, 3),
    ("llava_next", "large"): VisualGrid(3, 3),
    ("llava_onevision", "large"): VisualGrid(3, 3),
    ("gemma3", "image"): VisualGrid(2, 2),
    ("internvl", "image"): VisualGrid(2, 2),
    ("idefics3", "image"): VisualGrid(2, 2),
    ("qwen2_5_vl", "large"): VisualGrid(2, 3),
    ("qwen3_vl", "image"): VisualGrid(2, 2),
    ("mistral3", "large"): VisualGrid(2, 3),
    ("idefics2", "image"): None,
    ("kosmos-2", "image"): None,
    ("fuyu", "image"): None,
}


@pytest.mark.parametrize(("kind", "picture"), KNOWN)
def test_grids_of_model_types(kind, picture):
    model = build(kind)
    (inputs,) = Samples(TYPES[kind].layout, [[[2, picture, 3]]]).batches()
    assert visual_grid(model, inputs, int(LVLM.of(model).visual(inputs).sum())) == KNOWN[kind, picture]


def test_the_whole_picture_may_come_after_its_tiles():
    model = build("internvl")
    pixels = torch.rand(3, 3, 16, 16)
    grid = visual_grid(model, {"pixel_values": pixels}, 12)
    assert grid == VisualGrid(2, 2, first=8) and list(grid.tokens) == [8, 9, 10, 11]
    seen = seen_picture({"pixel_values": pixels}, grid, [0, 0, 0], [1, 1, 1])
    assert np.allclose(seen, pixels[2].permute(1, 2, 0))


def test_counts_that_do_not_fit_have_no_grid():
    llava, qwen = build("llava"), build("qwen2_5_vl")
    assert visual_grid(llava, {}, 10) is None and visual_grid(llava, {}, 8) is None
    for counts, tokens in ([[1, 4, 6]], 5), ([[2, 4, 4]], 8), ([[1, 4, 4], [1, 4, 4]], 8), ([[1, 4, 4]], 0):
        assert visual_grid(qwen, {"image_grid_thw": torch.tensor(counts)}, tokens) is None


@torch.no_grad()
def test_a_tower_may_take_smaller_pictures_than_its_config_names():
    model = build("llava")
    model.config.vision_config.image_size, model.config.vision_config.patch_size = 518, 14
    inputs = {"pixel_values": torch.zeros(1, 3, 56, 84)}
    assert visual_grid(model, inputs, 24) == VisualGrid(4, 6)
    assert visual_grid(model, inputs, 25) is None


def test_a_patch_moves_the_token_on_it_most():
    model, inputs = random_llava(), make_batch([4], 0)
    grid = visual_grid(model, inputs, 9)
    pixels = inputs["pixel_values"]
    for token in grid.tokens:
        row, column = divmod(token, grid.columns)
        other = pixels.clone()
        other[..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1.0
        before, after = (model.get_image_features(pixel_values=p).pooler_output[0] for p in (pixels, other))
        assert int((after - before).norm(dim=-1).argmax()) == token


def test_qwens_patches_come_in_the_grids_order():
    model = build("qwen2_5_vl")
    processor = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 84, "longest_edge": 56 * 84})
    picture = np.zeros((56, 84, 3), np.uint8)
    picture[28:, 28:56] = 255
    inputs = processor([Image.fromarray(picture)], return_tensors="pt")
    tokens = int(inputs["image_grid_thw"].prod()) // 4
    grid = visual_grid(model, inputs, tokens)
    assert grid == VisualGrid(2, 3)
    bright = (inputs["pixel_values"] > 0).all(-1).reshape(tokens, 4).all(-1)
    assert bright.nonzero().tolist() == [[1 * grid.columns + 1]]
    assert seen_picture(inputs, grid, processor.image_mean, processor.image_std) is None


def test_the_first_tile_of_llava_next_is_the_whole_picture():
    processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": 12}, crop_size={"height": 12, "width": 12}, image_grid_pinpoints=[[12, 24], [24, 24]]
    )
    picture = np.tile(np.linspace(0, 255, 24, dtype=np.uint8)[None, :, None], (12, 1, 3))
    inputs = processor([Image.fromarray(picture)], return_tensors="pt")
    seen = seen_picture(inputs, VisualGrid(3, 3), processor.image_mean, processor.image_std)
    assert seen.shape == (12, 12, 3)
    assert np.abs(seen[6, :, 0] - np.linspace(0, 1, 12)).max() < 0.06
