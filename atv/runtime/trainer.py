"""Lightning's trainer as this library uses it: how one is made, and how one runs a loop of ours."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import MPSAccelerator
from torch import nn

# The batches are in memory already: more workers would only copy them. The other is torch's to Lightning.
_NO_NEWS = (".*does not have many workers.*", ".*LeafSpec.*")
# Weights stay as they are: mixed precision casts what an operation takes and gives.
_UNCAST = ("32-true", "bf16-mixed", "16-mixed")


def quiet_trainer(**options: Any) -> L.Trainer:
    """A trainer on one device with a progress bar, no logger, no checkpoints, no summary; ``options`` override.

    Gradients are off but tensors stay ordinary ones (no inference mode), so that pruned weights can be trained later.
    A Mac's GPU is passed over, since it has no float64 to sum in.

    Raises:
        ValueError: for an option that lightning.Trainer does not have, or cannot serve here, or a job of SLURM whose
            tasks do not fit.
    """
    settings: dict[str, Any] = {
        "accelerator": "cpu" if MPSAccelerator.is_available() else "auto",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "inference_mode": False,
    }
    try:
        if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
            # Requeueing would save the half-pruned model, and load it over that of the next run.
            settings["plugins"] = [SLURMEnvironment(auto_requeue=False)]
        with quiet():
            return L.Trainer(**(settings | options))
    except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
        raise ValueError(f"trainer: {' '.join(str(error).split())}") from error


def require_uncast(trainer: L.Trainer | None) -> None:
    """Checks that a trainer, by default one of ours, leaves the model's weights in their dtype, as they are written.

    Raises:
        ValueError: for a precision that casts the model.
    """
    if trainer is not None and (given := str(trainer.precision)) not in _UNCAST:
        raise ValueError(
            f"trainer.precision: expected {', '.join(_UNCAST)}, got {given}, which casts the whole model; load the "
            "model in that dtype, or use bf16-mixed"
        )


def require_calibrating(trainer: L.Trainer | None) -> None:
    """Checks that a trainer leaves what it calibrates as it is, the weights uncast and no batch out.

    Raises:
        ValueError: as ``require_uncast`` and ``require_all_batches`` do.
    """
    require_uncast(trainer)
    require_all_batches(trainer)
    if trainer is not None and isinstance(trainer.accelerator, MPSAccelerator):
        raise ValueError("trainer.accelerator: mps has no float64, in which statistics are summed; choices: cpu, cuda")


def require_all_batches(trainer: L.Trainer | None) -> None:
    """Checks that a trainer, by default one of ours, sees every calibration batch once.

    Raises:
        ValueError: for a development run, a limit on batches of predictions, or ranks that would all see every batch.
    """
    if trainer is None:
        return
    # Lightning keeps the option in its connector alone.
    shared_out = trainer._accelerator_connector.use_distributed_sampler
    if trainer.world_size > 1 and not shared_out:
        raise ValueError(
            f"trainer.use_distributed_sampler: expected true, got {shared_out}, with which each of "
            f"{trainer.world_size} ranks would count every batch"
        )
    limit: Any = trainer.limit_predict_batches
    # A development run sets the limit, too. As a whole number, 1 is a single batch.
    name, expected, got = "limit_predict_batches", "1.0", limit
    if development := getattr(trainer, "fast_dev_run", False):
        name, expected, got = "fast_dev_run", "false", development
    elif isinstance(limit, float) and limit == 1:
        return
    raise ValueError(
        f"trainer.{name}: expected {expected}, got {got}, which may leave calibration samples out; for fewer use "
        "--samples"
    )


def precision(trainer: L.Trainer) -> dict[str, str]:
    """The part of a run's identity that says in which precision it computes; nothing where that is its model's own."""
    return {} if str(trainer.precision) == "32-true" else {"precision": str(trainer.precision)}


def require_own_weights(trainer: L.Trainer) -> None:
    """Checks that Lightning would load no checkpoint of another run over the model.

    Under SLURM it does so, without a word, from the trainer's folder, by default the working one.

    Raises:
        ValueError: naming the checkpoint.
    """
    found = sorted(Path(trainer.default_root_dir).glob("hpc_ckpt_*.ckpt")) if SLURMEnvironment.detect() else []
    if found:
        raise ValueError(
            f"trainer.default_root_dir: {str(found[-1])!r}, kept when SLURM requeued a job, would be loaded over the "
            "model; take it away, or name another folder"
        )


@contextmanager
def running(trainer: L.Trainer, *callbacks: L.Callback) -> Iterator[None]:
    """Lets a trainer run a loop of ours, quietly, with ``callbacks`` behind its own; then it is as before.

    Raises:
        ValueError: as ``require_own_weights`` does.
    """
    require_own_weights(trainer)
    # Lightning sets the attribute and does not declare it.
    before = trainer.callbacks  # type: ignore[attr-defined]
    trainer.callbacks = [*before, *callbacks]  # type: ignore[attr-defined]
    try:
        with quiet(), interruptible():
            yield
    finally:
        trainer.callbacks = before  # type: ignore[attr-defined]


@contextmanager
def interruptible() -> Iterator[None]:
    """Lets a keyboard interrupt out of a loop; Lightning makes a wordless SystemExit of it."""
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from ended
        raise


@contextmanager
def staying_on_its_device(model: nn.Module) -> Iterator[None]:
    """Puts a model that is on one device back there: when its loop is over, Lightning leaves it on the CPU."""
    devices = {weight.device for weight in model.parameters()}
    try:
        yield
    finally:
        if len(devices) == 1:
            model.to(devices.pop())


@contextmanager
def quiet(*messages: str) -> Iterator[None]:
    """Holds back, inside the block alone, warnings that are no news here: ours, and those that ``messages`` match.

    Which devices are not used, and Lightning's tips, are no news either.
    """
    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in (*_NO_NEWS, *messages):
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        log.setLevel(level)
