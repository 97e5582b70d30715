import numpy as np
import pytest
from PIL import Image

from atv.bundled import BUNDLED_MODEL
from atv.inspection import Shown, Subject
from atv.model.loading import load_model
from atv.model.lvlm import LVLM
from atv.model.visual_grid import VisualGrid


@pytest.fixture(scope="module")
def bundled():
    model, processor = load_model(BUNDLED_MODEL)
    return LVLM.of(model), processor


def test_the_picture_is_what_the_model_sees(bundled, tmp_path):
    wide = np.zeros((54, 108, 3), np.uint8)
    wide[:, :20] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    subject = Subject.of(*bundled, Shown(tmp_path / "wide.png", "how many ?").row(1))
    assert subject.picture.shape == (54, 54, 3) and subject.grid == VisualGrid(9, 9)
    pixels = subject.inputs["pixel_values"][0].permute(1, 2, 0).numpy()
    assert np.allclose(subject.picture, (pixels + 1) / 2, atol=1e-6)
    assert subject.conversation == [{"role": "user", "text": "how many ?"}]


def test_an_answer_ends_the_conversation(bundled, tmp_path):
    Image.new("RGB", (54, 54)).save(tmp_path / "x.png")
    open_, closed = (
        Subject.of(*bundled, Shown(tmp_path / "x.png", "how many ?", answer).row(1)) for answer in (None, "2")
    )
    decode = bundled[1].tokenizer.decode
    assert decode(open_.inputs["input_ids"][0]).strip().endswith("<assistant>")
    assert decode(closed.inputs["input_ids"][0]).strip().endswith("2 <end>")


def test_a_sample_without_a_picture_is_refused(bundled):
    row = {"image": None, "conversation": [{"role": "user", "text": "how many ?"}]}
    with pytest.raises(ValueError, match="sample: it has no picture"):
        Subject.of(*bundled, row)
