import pytest

from atv.runtime.trainer import quiet_trainer
from atv.tracking.log import chosen_loggers


@pytest.fixture
def slurm(monkeypatch):
    """A job of two tasks."""
    for name, value in {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "prune"}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_tasks_of_slurm_that_do_not_fit_are_one_line(slurm):
    with pytest.raises(ValueError, match=r"^trainer: You set `--ntasks=2` .* `--ntasks-per-node=2` instead\.$"):
        quiet_trainer(accelerator="cpu")


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
