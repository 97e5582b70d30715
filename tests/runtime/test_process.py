import logging
import warnings
from itertools import chain

import lightning as L
import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator, MPSAccelerator
from torch import nn

import atv
from atv.runtime.preemption import Remaining
from atv.runtime.trainer import (
    quiet,
    quiet_trainer,
    require_all_batches,
    require_calibrating,
    running,
    staying_on_its_device,
)
from atv.tracking.log import chosen_loggers


def process():
    """What a library must leave to the program that calls it."""
    return list(warnings.filters), logging.getLogger("lightning.pytorch.utilities.rank_zero").level


def test_a_call_of_the_library_leaves_the_process_as_it_was(llava, batches):
    before = process()
    trainer = quiet_trainer(enable_progress_bar=False)
    own = list(trainer.callbacks)
    atv.prune(llava, batches, trainer=trainer)
    assert process() == before and trainer.callbacks == own


def test_a_loop_that_fails_leaves_the_trainer_as_it_was():
    trainer, before = quiet_trainer(enable_progress_bar=False), process()
    own, more = list(trainer.callbacks), L.Callback()
    with pytest.raises(KeyError), running(trainer, more):
        assert trainer.callbacks == [*own, more] and process() != before
        raise KeyError
    assert trainer.callbacks == own and process() == before


def test_only_what_is_no_news_is_held_back():
    with pytest.warns(UserWarning, match="this matters") as told, quiet("of no interest"):
        warnings.warn("of no interest", stacklevel=1)
        warnings.warn("the loader does not have many workers which", stacklevel=1)
        warnings.warn("this matters", stacklevel=1)
    assert len(told) == 1


@pytest.fixture
def slurm(monkeypatch):
    """A job of two tasks."""
    for name, value in {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "prune"}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_tasks_of_slurm_that_do_not_fit_are_one_line(slurm):
    with pytest.raises(ValueError, match=r"^trainer: You set `--ntasks=2` .* `--ntasks-per-node=2` instead\.$"):
        quiet_trainer(accelerator="cpu")


def test_a_requeued_jobs_checkpoint_is_neither_made_nor_loaded_over_a_model(slurm, tmp_path, llava, batches):
    slurm.setenv("SLURM_NTASKS", "1")
    slurm.chdir(tmp_path)
    trainer = quiet_trainer(accelerator="cpu", enable_progress_bar=False)
    assert not trainer._accelerator_connector.cluster_environment.auto_requeue
    (tmp_path / "hpc_ckpt_1.ckpt").write_text("of another run")
    with pytest.raises(ValueError, match=r"^trainer\.default_root_dir: '.*hpc_ckpt_1\.ckpt', saved when SLURM req"):
        atv.prune(llava, batches, trainer=trainer)
    slurm.delenv("SLURM_NTASKS")
    atv.prune(llava, batches, trainer=quiet_trainer(accelerator="cpu", enable_progress_bar=False))


def test_a_mac_computes_where_there_is_float64(monkeypatch):
    monkeypatch.setattr("lightning.pytorch.accelerators.MPSAccelerator.is_available", lambda: True)
    trainer = quiet_trainer()
    assert isinstance(trainer.accelerator, CPUAccelerator)
    require_calibrating(trainer)
    monkeypatch.setattr(trainer.strategy, "_accelerator", MPSAccelerator())
    with pytest.raises(ValueError, match=r"^trainer\.accelerator: mps has no float64"):
        require_calibrating(trainer)


def test_ranks_that_would_all_see_every_batch_are_refused():
    options = {"accelerator": "cpu", "devices": 2, "use_distributed_sampler": False}
    with pytest.raises(ValueError, match=r"^trainer\.use_distributed_sampler: expected true, got False"):
        require_all_batches(quiet_trainer(**options))
    require_all_batches(quiet_trainer(**(options | {"devices": 1})))


@pytest.mark.parametrize("option", [{"devices": 0}, {"accelerator": "abacus"}, {"precision": "7"}, {"strategy": "?"}])
def test_options_that_cannot_be_served_name_the_trainer(option):
    with pytest.raises(ValueError, match=r"^trainer: "):
        quiet_trainer(**({"accelerator": "cpu"} | option))


@pytest.mark.parametrize(("name", "value"), [("WANDB_MODE", ""), ("WANDB_MODE", "off"), ("WANDB_INIT_TIMEOUT", "soon")])
def test_what_wandb_cannot_read_in_the_environment_is_named_before_any_work(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"^logger: {name}='{value}' in the environment: .*; unset it") as error:
        chosen_loggers("wandb")
    assert "\n" not in str(error.value)
    assert chosen_loggers("csv") == ["csv"]


@pytest.mark.parametrize("done", [0, 2])
def test_ranks_share_what_remains(done):
    shares = [list(Remaining(12, rank, 3, lambda: done)) for rank in range(3)]
    assert sorted(chain(*shares)) == list(range(3 * done, 12))
    assert all(len(Remaining(12, rank, 3, lambda: done)) == 4 for rank in range(3))


class Parked(nn.Linear):
    """Notes where it is sent; no device but the CPU is at hand."""

    def to(self, device):
        self.sent = device
        return self


@pytest.mark.parametrize("devices", [1, 2])
def test_a_model_on_one_device_goes_back_there(devices):
    model = Parked(2, 2)
    if devices == 2:
        model.bias = nn.Parameter(torch.empty(2, device="meta"))
    with pytest.raises(KeyError), staying_on_its_device(model):
        raise KeyError
    assert getattr(model, "sent", None) == (torch.device("cpu") if devices == 1 else None)
