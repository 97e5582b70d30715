import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoProcessor, PaddleOCRVLProcessor, PreTrainedTokenizerFast
from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import PaddleOCRVLImageProcessorPil

from atv.bundled.vocabulary import build_processor
from atv.data.pixel_cap import cap_pixels

SIDE = 28
PICTURE = Image.new("RGB", (40 * SIDE, 30 * SIDE))


@pytest.fixture
def processor():
    """One that resizes in the manner of Qwen-VL: a visual token for every 28 x 28 pixels."""
    letters = Tokenizer(models.BPE({c: i for i, c in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    named = {"image_token": "<|image|>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, pad_token="<pad>", extra_special_tokens=named)
    return PaddleOCRVLProcessor(PaddleOCRVLImageProcessorPil(), tokenizer, chat_template="-")


def visual_tokens(processor):
    ids = processor(images=[[PICTURE]], text=["<|image|>"], return_tensors="pt")["input_ids"]
    return int((ids == processor.tokenizer.image_token_id).sum())


def test_the_cap_bounds_visual_tokens_and_is_saved(processor, tmp_path):
    assert visual_tokens(processor) == 40 * 30
    cap_pixels(processor, None, 100 * SIDE**2)
    capped = visual_tokens(processor)
    assert 80 <= capped <= 100
    processor.save_pretrained(tmp_path)
    assert visual_tokens(AutoProcessor.from_pretrained(tmp_path)) == capped


def test_a_lower_bound(processor):
    cap_pixels(processor, 2000 * SIDE**2, None)
    assert 2000 <= visual_tokens(processor) < 2300


def test_bounds_out_of_order(processor):
    with pytest.raises(ValueError, match="expected 0 < min_pixels <= max_pixels, got 9 and 5"):
        cap_pixels(processor, 9, 5)


def test_processors_with_sizes_of_their_own():
    with pytest.raises(ValueError, match="max_pixels: CLIPImageProcessorPil resizes pictures to sizes of its own"):
        cap_pixels(build_processor(), None, 100)
