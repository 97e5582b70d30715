import copy

import numpy as np
import pytest
import torch
from conformance.table import TYPES, Samples, build
from PIL import Image

import atv
from atv.bundled import BUNDLED_MODEL
from atv.inspection import Shown, Subject, inspect_sample, linear_of_blocks, modality_overlap
from atv.model.loading import load_model
from atv.model.lvlm import LVLM
from atv.model.visual_grid import VisualGrid
from atv.records.masks import overlap
from atv.runtime.trainer import quiet_trainer
from atv.selection import DriftTopK


def quiet():
    return quiet_trainer(enable_progress_bar=False)


def test_the_overlap_is_that_of_two_runs_and_the_model_stays(llava, batches):
    before = copy.deepcopy(llava.state_dict())
    iou, kept = modality_overlap(llava, batches, quiet(), sparsity=0.25)
    runs = [
        atv.prune(copy.deepcopy(llava), batches, selection=rule, sparsity=0.25, trainer=quiet()).masks
        for rule in ("VisualOnly", "TextOnly")
    ]
    assert iou == overlap(*runs) and kept == pytest.approx(0.75)
    assert all(torch.equal(weight, before[name]) for name, weight in llava.state_dict().items())


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_5"])
def test_one_sample_of_a_batch(kind):
    """qwen3_5 has linear attention, so no q_proj, in its first block."""
    model, rule = build(kind), DriftTopK(share=0.5)
    batches = Samples(TYPES[kind].layout, [[[2, "large", 9], [3, "image", 7]], [[1, "large", 5]]]).batches()
    linears, trainer = linear_of_blocks(LVLM.of(model), "q_proj"), quiet()
    callbacks = list(trainer.callbacks)
    seen = inspect_sample(model, batches, 1, rule, linears, trainer)
    valid = LVLM.valid(batches[0])[1]
    visual = LVLM.of(model).visual(batches[0])[1][valid]
    assert seen.positions.tolist() == visual.nonzero().flatten().tolist()
    assert seen.text == int((~visual).sum()) and seen.samples == 3 and seen.blocks == [0, 1]
    assert (seen.weights != 0).sum(1).tolist() == [min(len(seen.positions), round(0.5 * seen.text))] * 2
    assert set(seen.norms["block"]) == set(linears) and trainer.callbacks == callbacks


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
