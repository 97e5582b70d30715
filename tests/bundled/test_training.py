"""The recipe, a few steps of it: every stage learns, a killed run goes on, dialogues do not see one another."""

import pandas as pd
import pytest
import torch
from transformers import AutoModelForImageTextToText

from atv.bundled.architecture import build_model
from atv.bundled.training.__main__ import train
from atv.bundled.training.language import CHOOSING, LOOKING, DialogueBatches, LanguageStage
from atv.bundled.training.optimization import Schedule


def test_packed_dialogues_see_the_picture_and_themselves_alone():
    torch.manual_seed(0)
    model = build_model().eval()
    for block in model.get_decoder().layers:
        torch.nn.init.normal_(block.self_attn.o_proj.weight, std=0.05)
        torch.nn.init.normal_(block.mlp.down_proj.weight, std=0.05)
    stage = LanguageStage(model, Schedule(10, 1), muon_lr=0.01, adam_lr=1e-3, tower=False)
    batch = DialogueBatches(CHOOSING, seed=0, batches=10, batch_size=2, length=184)[0]
    starts = [i for i in range(82, batch.ids.shape[1]) if batch.positions[0, i] == 82]
    with torch.no_grad():
        bias = torch.zeros_like(batch.mask, dtype=torch.float32).masked_fill(
            ~batch.mask, torch.finfo(torch.float32).min
        )
        together = stage.model.model(
            input_ids=batch.ids, attention_mask=bias, position_ids=batch.positions, pixel_values=batch.images
        ).last_hidden_state[0, starts[2] : starts[3]]
        ids = torch.cat([batch.ids[0, :82], batch.ids[0, starts[2] : starts[3]]])[None]
        alone = stage.model.model(input_ids=ids, pixel_values=batch.images[:1]).last_hidden_state[0, 82:]
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_batches_depend_on_seed_and_index_alone():
    first, again = (DialogueBatches(LOOKING, seed=0, batches=9, batch_size=2, length=184)[3] for _ in range(2))
    other = DialogueBatches(CHOOSING, seed=0, batches=9, batch_size=2, length=184)[3]
    assert torch.equal(first.ids, again.ids) and torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert DialogueBatches(LOOKING, seed=0, batches=9, batch_size=2, length=184)[5].images is None


STEPS = {"looking_steps": 1, "choosing_steps": 1, "polishing_steps": 1, "precision": "32-true"}


@pytest.mark.slow
def test_the_first_stage_learns_where_things_are(tmp_path):
    train(tmp_path / "model", tmp_path / "work", **STEPS, vision_steps=60)
    log = pd.read_csv(tmp_path / "work" / "vision" / "metrics.csv")
    assert log["vision/row_accuracy"].dropna().iloc[-1] > 0.9


@pytest.mark.slow
def test_the_recipe_makes_a_model_and_goes_on_where_it_stopped(tmp_path):
    options = {**STEPS, "vision_steps": 1}
    train(tmp_path / "model", tmp_path / "work", **options)
    made = AutoModelForImageTextToText.from_pretrained(tmp_path / "model").state_dict()
    (tmp_path / "work" / "polishing" / "weights.safetensors").unlink()
    train(tmp_path / "again", tmp_path / "work", **options)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / "again").state_dict()
    assert made.keys() == again.keys()
    assert all(torch.allclose(made[name], again[name], atol=1e-5) for name in made)
