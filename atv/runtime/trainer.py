"""Lightning trainers as this library uses them: creating and checking them, and running a loop."""

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

# Batches are in memory already, so more workers would only copy them. The second is torch's warning to Lightning.
_NO_NEWS = (".*does not have many workers.*", ".*LeafSpec.*")
# Precisions that leave the weights as they are: mixed precision casts only the inputs and outputs of an operation.
_UNCAST = ("32-true", "bf16-mixed", "16-mixed")


def quiet_trainer(**options: Any) -> L.Trainer:
    """Returns a trainer on one device with a progress bar, but no logger, checkpoints or summary; ``options`` override.

    Gradients are off, but tensors remain ordinary ones (no inference mode), so that pruned weights can be trained
    later. A Mac's GPU is not used because it has no float64 for sums.

    Raises:
        ValueError: if lightning.Trainer does not have an option or cannot use it here, or the tasks of a SLURM job do
            not fit.
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
            # Requeueing would save the half-pruned model, and load it over the model of the next run.
            settings["plugins"] = [SLURMEnvironment(auto_requeue=False)]
        with quiet():
            return L.Trainer(**(settings | options))
    except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
        raise ValueError(f"trainer: {' '.join(str(error).split())}") from error


def require_uncast(trainer: L.Trainer | None) -> None:
    """Checks that a trainer leaves the model's weights in the dtype in which they are written; None always passes.

    Raises:
        ValueError: if the trainer's precision casts the model.
    """
    if trainer is not None and (precision_name := str(trainer.precision)) not in _UNCAST:
        raise ValueError(
            f"trainer.precision: expected {', '.join(_UNCAST)}, got {precision_name}, which casts the whole model; "
            "load the model in that dtype, or use bf16-mixed"
        )


def require_calibrating(trainer: L.Trainer | None) -> None:
    """Checks that a trainer is suitable for calibration: it casts no weights, leaves out no batch and has float64.

    Raises:
        ValueError: if the accelerator is mps, or as in ``require_uncast`` and ``require_all_batches``.
    """
    require_uncast(trainer)
    require_all_batches(trainer)
    if trainer is not None and isinstance(trainer.accelerator, MPSAccelerator):
        raise ValueError("trainer.accelerator: mps has no float64, in which statistics are summed; choices: cpu, cuda")


def require_all_batches(trainer: L.Trainer | None) -> None:
    """Checks that a trainer sees every calibration batch once; None always passes.

    Raises:
        ValueError: if it is a development run, limits the prediction batches, or has ranks that all see every batch.
    """
    if trainer is None:
        return
    # Lightning keeps this option only in its connector.
    shards_batches = trainer._accelerator_connector.use_distributed_sampler
    if trainer.world_size > 1 and not shards_batches:
        raise ValueError(
            f"trainer.use_distributed_sampler: expected true, got {shards_batches}, with which each of the "
            f"{trainer.world_size} ranks would count every batch"
        )
    limit: Any = trainer.limit_predict_batches
    # A development run sets the limit, too. The integer 1 means a single batch.
    name, expected, value = "limit_predict_batches", "1.0", limit
    if development_run := getattr(trainer, "fast_dev_run", False):
        name, expected, value = "fast_dev_run", "false", development_run
    elif isinstance(limit, float) and limit == 1:
        return
    raise ValueError(
        f"trainer.{name}: expected {expected}, got {value}, which may leave out calibration samples; to use fewer, set "
        "--samples"
    )


def precision(trainer: L.Trainer) -> dict[str, str]:
    """Returns the precision as a part of a run's identity; empty if the run computes in the model's own precision."""
    return {} if str(trainer.precision) == "32-true" else {"precision": str(trainer.precision)}


def require_own_weights(trainer: L.Trainer) -> None:
    """Checks that Lightning would not load a checkpoint of a different run over the model.

    Under SLURM, it silently does so from the trainer's folder, by default the working folder.

    Raises:
        ValueError: if there is such a checkpoint; the message names it.
    """
    checkpoints = sorted(Path(trainer.default_root_dir).glob("hpc_ckpt_*.ckpt")) if SLURMEnvironment.detect() else []
    if checkpoints:
        raise ValueError(
            f"trainer.default_root_dir: {str(checkpoints[-1])!r}, saved when SLURM requeued a job, would be loaded "
            "over the model; remove it or choose another folder"
        )


@contextmanager
def running(trainer: L.Trainer, *callbacks: L.Callback) -> Iterator[None]:
    """Lets a trainer run a loop quietly, with ``callbacks`` after its own; afterwards, its callbacks are restored.

    Raises:
        ValueError: as in ``require_own_weights``.
    """
    require_own_weights(trainer)
    # Lightning sets the attribute without declaring it.
    earlier_callbacks = trainer.callbacks  # type: ignore[attr-defined]
    trainer.callbacks = [*earlier_callbacks, *callbacks]  # type: ignore[attr-defined]
    try:
        with quiet(), interruptible():
            yield
    finally:
        trainer.callbacks = earlier_callbacks  # type: ignore[attr-defined]


@contextmanager
def interruptible() -> Iterator[None]:
    """Raises a loop's keyboard interrupt as such; Lightning turns it into a SystemExit without a message."""
    try:
        yield
    except SystemExit as system_exit:
        if isinstance(system_exit.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from system_exit
        raise


@contextmanager
def staying_on_its_device(model: nn.Module) -> Iterator[None]:
    """Moves a model that was on a single device back there after its loop; Lightning leaves it on the CPU."""
    devices = {weight.device for weight in model.parameters()}
    try:
        yield
    finally:
        if len(devices) == 1:
            model.to(devices.pop())


@contextmanager
def quiet(*messages: str) -> Iterator[None]:
    """Suppresses uninformative warnings within the block: those of ``_NO_NEWS`` and those that match ``messages``.

    Lightning's tips, and its notes on unused devices, are suppressed as well.
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
