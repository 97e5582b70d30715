"""A mixture made of the bundled model."""

import pytest
import torch
from transformers import AutoModelForImageTextToText

import atv
from atv.bundled import BUNDLED_MODEL
from atv.model.loading import load_model
from experiments.mixture import make, upcycled


def test_it_computes_what_the_model_did_that_it_was_made_of():
    dense, processor = load_model(BUNDLED_MODEL)
    (batch,) = atv.calibration_batches(processor, "bundled", samples=2, batch_size=2)
    before = {name: value.clone() for name, value in dense.state_dict().items()}
    mixture = upcycled(dense, experts=4, chosen=2).eval()
    routers = [block.mlp.gate.weight for block in mixture.get_decoder().layers]
    assert len(routers) == 6 and all(router.shape == (4, 192) and router.std() > 0 for router in routers)
    with torch.no_grad():
        ours, theirs = mixture(**batch).logits, dense(**batch).logits
    valid = batch["attention_mask"].bool()
    torch.testing.assert_close(ours[valid], theirs[valid], atol=1e-4, rtol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())


@pytest.mark.slow
def test_training_parts_the_experts_and_leaves_a_folder_that_is_pruned_by_experts(tmp_path):
    make(tmp_path / "mixture", steps=2, threads=1)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "mixture")
    experts = model.get_decoder().layers[0].mlp.experts.down_proj
    assert not torch.equal(experts[0], experts[1])
    batches = atv.calibration_batches(atv.load(tmp_path / "mixture")[1], "bundled", samples=2)
    report = atv.prune(model, batches, sparsity=0.25, pattern="WholeExperts", criterion="REAP")
    assert report.sparsity == 0.25
