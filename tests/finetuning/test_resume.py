"""Runs that were killed and go on."""

import os
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import lightning as L
import pandas as pd
import pytest
import torch
from helpers.tiny import random_llava
from helpers.tuning import SETTINGS, answers, pruned, unlabelled
from ranks.finetuning import main
from safetensors.torch import load_file

from atv.finetuning.batches import batched, shuffled
from atv.finetuning.fit_trainer import last_checkpoint, training_trainer
from atv.finetuning.objectives import AnswerLoss, DistillationLoss
from atv.finetuning.training_run import Diverged, SparseFinetuning, fit, prepare
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


def run(folder, killed_after=None, accumulated=1, log_to=None):
    lvlm = LVLM.of(random_llava())
    prepare(lvlm, pruned(lvlm), SETTINGS)
    options = {"accelerator": "cpu", "enable_progress_bar": False, "accumulate_grad_batches": accumulated}
    trainer = training_trainer(folder, 1, log_to, options | {"log_every_n_steps": 1})
    if killed_after is not None:
        trainer.callbacks.append(KilledAfter(killed_after))
    batches = answers(8)
    return fit(lvlm, AnswerLoss(), SETTINGS, batches, batches[:2], trainer, last_checkpoint(folder))


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


def test_losses_from_before_a_kill_are_kept(tmp_path):
    for steps in (2, 5):
        with pytest.raises(Killed):
            run(tmp_path, steps, log_to="csv")
    run(tmp_path, log_to="csv")
    assert {file.name for file in (tmp_path / "log").glob("*.csv")} == {"metrics-1.csv", "metrics-2.csv", "metrics.csv"}
    logged = [pd.read_csv(tmp_path / "log" / f"{name}.csv")["step"] for name in ("metrics-1", "metrics-2", "metrics")]
    assert set(pd.concat(logged)) >= set(range(8)) and set(logged[0]) >= {0, 1}


def test_a_killed_run_goes_on_as_the_same_wandb_run_without_an_account(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_PROJECT", "tuning")
    with pytest.raises(Killed):
        run(tmp_path, 2, log_to="wandb")
    # W&B names its folders by the second.
    time.sleep(1)
    run(tmp_path, log_to="wandb")
    first, second = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert first.name.split("-")[-1] == second.name.split("-")[-1]
    assert all(not list(kept.glob("files/wandb-metadata.json")) for kept in (first, second))
    assert any(b"tuning" in file.read_bytes() for file in first.glob("*.wandb"))


def test_a_variable_that_wandb_cannot_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(ValueError, match=r"^logger: WANDB_MODE='sometimes' in the environment: "):
        training_trainer(tmp_path, 1, "wandb", {})


def test_a_checkpoint_holds_what_is_trained_and_loads_without_pickled_code(tmp_path):
    outcome = run(tmp_path)
    checkpoint = torch.load(last_checkpoint(tmp_path), weights_only=True)
    assert {name.removeprefix("model.") for name in checkpoint["state_dict"]} == outcome.weights.keys()


def test_a_checkpoint_that_is_cut_short_is_named(tmp_path):
    run(tmp_path)
    file = last_checkpoint(tmp_path)
    file.write_bytes(file.read_bytes()[:-64])
    with pytest.raises(ValueError, match=r"^output: '.*last.ckpt' is not a complete checkpoint; remove it"):
        run(tmp_path)


def test_weights_that_are_not_finite_are_no_outcome(tmp_path, monkeypatch):
    def spoil(self):
        next(parameter for parameter in self.parameters() if parameter.requires_grad).data[0, 0] = torch.nan

    monkeypatch.setattr(SparseFinetuning, "on_train_end", spoil)
    with pytest.raises(Diverged, match=r"learning_rate: 0\.01 is too high, expected finite weights, .* at step 8"):
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


JOB = Path(__file__).parents[1] / "ranks" / "finetuning.py"


def trained(strategy, learns, folder):
    places = os.pathsep.join([str(JOB.parents[1]), str(JOB.parents[2])])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": places}
    command = [sys.executable, str(JOB), "2", strategy, learns, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return [load_file(folder / str(rank)) for rank in range(2) if (folder / str(rank)).is_file()]


@pytest.fixture(scope="module", params=["answers", "dense outputs"])
def learns(request):
    return request.param


@pytest.fixture(scope="module")
def one_rank(learns, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    main(1, "auto", learns, folder)
    return load_file(folder / "0")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_ranks_train_the_same_weights_and_hold_the_zeros(strategy, learns, one_rank, tmp_path):
    own = trained(strategy, learns, tmp_path)
    assert len(own) == (2 if strategy == "ddp" else 1)
    masks = pruned(LVLM.of(random_llava()))
    for weights in own:
        assert weights.keys() == one_rank.keys()
        for name, weight in weights.items():
            assert torch.equal(weight, own[0][name])
            # The mean of two ranks' gradients is the accumulated one, up to rounding.
            torch.testing.assert_close(weight, one_rank[name], rtol=1e-3, atol=1e-5)
            assert not weight[~masks[name.removesuffix(".parametrizations.weight.original")]].any()


@pytest.mark.slow
def test_sigterm_to_one_rank_ends_both_after_the_step_in_hand(tmp_path):
    assert not trained("ddp", "is-preempted", tmp_path)
    assert [(tmp_path / f"stopped-{rank}").read_text() for rank in range(2)] == ["3", "3"]


@pytest.mark.slow
def test_a_projector_is_trained_where_one_of_two_ranks_reads_text_alone(tmp_path):
    (one := tmp_path / "one").mkdir()
    main(1, "auto", learns := "answers, projector beside", one)
    expected, masks = load_file(one / "0"), pruned(LVLM.of(random_llava()))
    for weights in trained("auto", learns, tmp_path):
        torch.testing.assert_close(weights, expected, rtol=1e-3, atol=1e-5)
        for name, mask in masks.items():
            assert not weights[f"{name}.parametrizations.weight.original"][~mask].any()


def test_outputs_are_learned_and_checkpoints_hold_no_dense_model(llava, tmp_path):
    lvlm = LVLM.of(llava)
    masks = pruned(lvlm)
    prepare(lvlm, masks, SETTINGS)
    trainer = training_trainer(tmp_path, 1, None, {"accelerator": "cpu", "enable_progress_bar": False})
    batches, dense = unlabelled(answers(8)), random_llava()
    outcome = fit(lvlm, DistillationLoss(LVLM.of(dense)), SETTINGS, batches, batches[:2], trainer, tmp_path / "none")
    assert outcome.validation[-1]["loss"] < 0.8 * outcome.validation[0]["loss"]
    assert all(torch.equal(p, dense.get_parameter(name)) for name, p in random_llava().named_parameters())
    kept = torch.load(last_checkpoint(tmp_path), weights_only=True)["state_dict"]
    assert {name.removeprefix("model.") for name in kept} == outcome.weights.keys()
    for name, mask in masks.items():
        assert not outcome.weights[f"{name}.parametrizations.weight.original"][~mask].any()


def test_an_epoch_shows_each_sample_once_in_an_order_of_its_own():
    plan = shuffled([True] * 10, epochs=3, batch_size=2, multiple=2, seed=0)
    assert len(plan) == 12
    epochs = [list(chain(*plan[start : start + 4])) for start in (0, 4, 8)]
    assert all(len(set(epoch)) == 8 for epoch in epochs) and epochs[0] != epochs[1]
    assert plan == shuffled([True] * 10, epochs=3, batch_size=2, multiple=2, seed=0)
    with pytest.raises(ValueError, match="3 do not fill one step of 4"):
        shuffled([True] * 3, epochs=1, batch_size=2, multiple=2, seed=0)


def test_a_batch_has_pictures_in_all_samples_or_in_none():
    pictured = [True, False, True, True, False, False, False]
    assert batched(range(7), pictured, 2) == ([[0, 2], [1, 4], [5, 6]], [[3]])
