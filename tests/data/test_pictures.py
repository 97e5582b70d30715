"""Pixels and cells: pictures upright, in 8 bits, from whatever holds them."""

import base64
import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoProcessor, PaddleOCRVLProcessor, PreTrainedTokenizerFast
from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import PaddleOCRVLImageProcessorPil

from atv.bundled.architecture import build_processor
from atv.data.pictures import decode, header, undecoded
from atv.data.pixel_cap import cap_pixels


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def left_white():
    """Six by four, the left half white."""
    image = Image.new("RGB", (6, 4))
    image.paste("white", (0, 0, 3, 4))
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_pictures_stand_upright(orientation, kind):
    # How the upright picture was turned before it was stored with this orientation.
    turned = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = left_white().transpose(Image.Transpose(turned[orientation])) if orientation > 1 else left_white()
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(stored, kind, exif=exif)
    for picture in (content, Image.open(io.BytesIO(content))):
        shown = np.asarray(decode(picture)).astype(int)
        assert shown.shape == (4, 6, 3) and shown[:, 0].min() > 200 and shown[:, -1].max() < 60


@pytest.mark.parametrize("value", [-3.5, 0.0, 100_000.0])
def test_pixels_that_are_all_alike_are_grey(value):
    shown = np.asarray(decode(saved(Image.fromarray(np.full((4, 4), value, np.float32)), "TIFF")))
    assert shown.shape == (4, 4, 3) and shown.std() == 0


@pytest.mark.parametrize("cell", [b"", {"bytes": b"", "path": None}])
def test_a_picture_of_no_bytes_is_not_taken_for_none(cell):
    with pytest.raises(ValueError, match="a picture with no bytes"):
        undecoded(cell)


def test_a_file_url_is_decoded(tmp_path):
    (tmp_path / "a 100%.png").write_bytes(saved(left_white(), "PNG"))
    assert decode(f"file://{tmp_path}/a%20100%25.png").size == (6, 4)


def test_an_orientation_that_cannot_be_read_is_none():
    content = saved(left_white(), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xff broken")
    assert decode(content).size == (6, 4)


RAMP = np.linspace(0, 65535, 64).reshape(8, 8)
SHOWN = np.rint(RAMP / 257).astype(np.uint8)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (RAMP.astype(np.uint16), "PNG"),
        (RAMP.astype(np.uint16), "TIFF"),
        (np.rint(RAMP).astype(np.int32), "TIFF"),
        ((RAMP / 65535).astype(np.float32), "TIFF"),
        ((RAMP / 257).astype(np.float32), "TIFF"),
        (RAMP.astype(np.float32), "TIFF"),
        ((RAMP - 30_000).astype(np.float32), "TIFF"),
        (np.rint(RAMP * 1000).astype(np.int32), "TIFF"),
    ],
)
def test_grey_of_many_bits_keeps_its_greys(values, kind):
    image = Image.fromarray(values)
    for picture in (image, saved(image, kind)):
        shown = np.asarray(decode(picture)).astype(int)
        assert np.abs(shown - SHOWN[..., None].astype(int)).max() <= 1


def test_dark_16_bits_stay_dark():
    assert np.asarray(decode(Image.fromarray(np.full((2, 2), 200, np.uint16)))).max() == 1


def test_values_that_are_not_finite():
    image = Image.fromarray(np.array([[0, np.nan], [1, np.inf]], np.float32))
    with pytest.raises(ValueError, match="NaN or infinite"):
        decode(image)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"])
def test_other_modes_are_as_ever(mode):
    image = left_white().convert("RGB").convert(mode) if mode != "LAB" else Image.new("LAB", (6, 4))
    assert decode(image).tobytes() == image.convert("RGB").tobytes()


def test_a_picture_in_every_kind_of_cell(tmp_path):
    content = saved(Image.effect_noise((20, 20), 50), "PNG")
    (tmp_path / "a.png").write_bytes(content)
    spelled = base64.b64encode(content).decode()
    lines = "\n".join(spelled[start : start + 76] for start in range(0, len(spelled), 76))
    cells = [
        content,
        bytearray(content),
        spelled,
        lines,
        spelled.rstrip("="),
        spelled.encode(),
        base64.urlsafe_b64encode(content).decode(),
        f"data:image/png;base64,{spelled}",
        "a.png",
        str(tmp_path / "a.png"),
        f"file://{tmp_path / 'a.png'}",
        {"bytes": content, "path": None},
        {"bytes": None, "path": "a.png"},
        {"url": f"data:image/png;base64,{spelled}"},
        {"image_url": {"url": spelled}},
        [{"bytes": content, "path": "elsewhere.png"}],
    ]
    expected = decode(content).tobytes()
    for cell in cells:
        (picture,) = undecoded(cell, tmp_path)
        assert decode(picture).tobytes() == expected and header(picture) == (20, 20), cell
    for nothing in (None, "", [], {"bytes": None, "path": None}, [None]):
        assert undecoded(nothing) == []


@pytest.mark.parametrize("content", [saved(Image.effect_noise((500, 500), 50), "PNG"), b"P3 " + b"7 " * 100_000])
def test_bytes_that_spell_no_base64_are_copied_once_at_most(content):
    tracemalloc.start()
    try:
        assert undecoded(content) == [content]
        assert tracemalloc.get_traced_memory()[1] < 1.2 * len(content)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cell", [7, 0.5, True, {"width": 3}, "https://a.org/b.jpg", "data:image/png;base64,???", [7]])
def test_what_is_no_picture(cell):
    with pytest.raises(ValueError) as error:
        undecoded(cell)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("content", [b"", b"no picture", "x" * 5000, "/9j/" + "A" * 5000])
def test_what_cannot_be_decoded_is_said_shortly(content, tmp_path):
    for read in (decode, header):
        with pytest.raises(ValueError) as error:
            (picture,) = undecoded(content, tmp_path)
            read(picture)
        assert len(str(error.value)) < 400 and "\n" not in str(error.value)


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
    with pytest.raises(ValueError, match="max_pixels: CLIPImageProcessorPil resizes pictures to its own sizes"):
        cap_pixels(build_processor(), None, 100)
