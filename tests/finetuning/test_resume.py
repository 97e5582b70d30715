"""Runs that were killed and go on."""

import lightning as L
import pytest
import torch
from helpers.tiny import random_llava
from helpers.tuning import SETTINGS, answers, pruned

from atv.finetuning.fit_trainer import last_checkpoint, training_trainer
from atv.finetuning.objectives import Answers
from atv.finetuning.training_run import fit, prepare
from atv.model.lvlm import LVLM


class Killed(Exception):
    pass


class KilledAfter(L.Callback):
    """Ends the run in the middle of a step, as a kill would."""

    def __init__(self, steps):
        self.steps = steps

    def on_before_optimizer_step(self, trainer, *_):
        if trainer.global_step == self.steps:
            raise Killed


def run(folder, killed_after=None, accumulated=1):
    lvlm = LVLM.of(random_llava())
    prepare(lvlm, pruned(lvlm), SETTINGS)
    options = {"accelerator": "cpu", "enable_progress_bar": False, "accumulate_grad_batches": accumulated}
    trainer = training_trainer(folder, 1, None, options)
    if killed_after is not None:
        trainer.callbacks.append(KilledAfter(killed_after))
    batches = answers(8)
    return fit(lvlm, Answers(), SETTINGS, batches, batches[:2], trainer, last_checkpoint(folder))


@pytest.mark.parametrize(("steps", "accumulated"), [(3, 1), (4, 1), (1, 2)])
def test_a_killed_run_ends_with_the_weights_of_a_whole_one(steps, accumulated, tmp_path):
    whole = run(tmp_path / "whole", accumulated=accumulated)
    with pytest.raises(Killed):
        run(tmp_path / "killed", steps, accumulated)
    resumed = run(tmp_path / "killed", accumulated=accumulated)
    assert resumed.steps == whole.steps == 8 // accumulated
    assert [seen["step"] for seen in whole.validation] == [0, 4 // accumulated, 8 // accumulated]
    # A validation that was due at the very step of the last checkpoint is not made up for.
    assert resumed.validation == [seen for seen in whole.validation if seen["step"] != steps]
    assert all(torch.equal(weight, whole.weights[name]) for name, weight in resumed.weights.items())


def test_a_checkpoint_holds_what_is_trained_and_loads_without_pickled_code(tmp_path):
    outcome = run(tmp_path)
    checkpoint = torch.load(last_checkpoint(tmp_path), weights_only=True)
    assert {name.removeprefix("model.") for name in checkpoint["state_dict"]} == outcome.weights.keys()


def test_a_checkpoint_that_is_cut_short_is_named(tmp_path):
    run(tmp_path)
    file = last_checkpoint(tmp_path)
    file.write_bytes(file.read_bytes()[:-64])
    with pytest.raises(ValueError, match=r"^output: '.*last.ckpt' is no whole checkpoint; take it away"):
        run(tmp_path)


def test_the_rate_warms_up_and_falls_to_zero(tmp_path, monkeypatch):
    rates = []
    monkeypatch.setattr(
        L.LightningModule,
        "on_train_batch_start",
        lambda self, *_: rates.append(self.optimizers().param_groups[0]["lr"]),
    )
    run(tmp_path)
    assert rates[0] == 0 and rates[2] == pytest.approx(1e-2) and rates[-1] < 1e-3
    assert rates[2:] == sorted(rates[2:], reverse=True)
