import pytest
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from atv.evaluation.picture_bounds import bound_pixels


@pytest.mark.parametrize(("kind", "most"), [("qwen2_vl", 602_112), ("qwen2_5_vl", 1_605_632)])
def test_pinned_pixels_bound_the_patches(kind, most):
    class Processor:
        image_processor = Qwen2VLImageProcessorPil()

    assert bound_pixels(Processor, kind, None, None)["max_pixels"] == most
    grid = Processor.image_processor(images=[Image.new("RGB", (3000, 2000))], return_tensors="pt")["image_grid_thw"]
    pixels = int(grid.prod()) * 14 * 14
    assert 0.9 * most < pixels <= most


@pytest.mark.parametrize("kind", ["qwen3_vl", "qwen3_vl_moe"])
def test_qwen3_vl_sees_small_pictures_as_they_are(kind):
    class Processor:
        image_processor = Qwen2VLImageProcessorPil(
            patch_size=16, size={"shortest_edge": 65_536, "longest_edge": 16_777_216}
        )

    bound_pixels(Processor, kind, None, None)
    grid = Processor.image_processor(images=[Image.new("RGB", (128, 96))], return_tensors="pt")["image_grid_thw"]
    assert grid.tolist() == [[1, 96 // 16, 128 // 16]]


def test_other_types_are_left_alone():
    assert bound_pixels(None, "llava_next", None, None) is None
