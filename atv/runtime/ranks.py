"""Coordination of the ranks of a run; with a single rank, all of it is trivial."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import lightning as L
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher, _SubprocessScriptLauncher

Item = TypeVar("Item")


def distributed() -> bool:
    """Returns whether this process belongs to an initialized process group."""
    return dist.is_available() and dist.is_initialized()


def gathered(value: Item) -> list[Item]:
    """Returns the value of every rank, in the order of ranks."""
    if not distributed():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def agree(value: str, description: str) -> None:
    """Checks that every rank has the same value.

    Raises:
        RuntimeError: if the values differ; the message names ``description`` and each rank's value.
    """
    values = gathered(value)
    if len(set(values)) > 1:
        by_rank = ", ".join(f"rank {rank}: {value}" for rank, value in enumerate(values))
        raise RuntimeError(
            f"{description} differ between ranks ({by_rank}); are hardware, threads and versions the same?"
        )


def padded(items: Sequence[Item], trainer: L.Trainer) -> list[Item | None]:
    """Returns the items, padded with None so that every rank has at least one.

    Lightning shards without repetition, but expects a step on every rank; a rank without one would miss the
    collectives of the others.
    """
    return [*items, *[None] * (trainer.world_size - len(items))]


@contextmanager
def failing_together(trainer: L.Trainer) -> Iterator[None]:
    """Ends every rank when one fails, so that none waits for it.

    Lightning's first rank watches the ranks that it started and ends with them; this adds the opposite direction.
    torchrun and SLURM do both themselves.

    Raises:
        ValueError: if the strategy shards or copies the model.
    """
    strategy_name = type(trainer.strategy).__name__
    if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
        raise ValueError(f"trainer: strategy {strategy_name} shards the model; choices: auto, ddp")
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _MultiProcessingLauncher):
        raise ValueError("trainer: spawned and forked ranks would prune copies of the model; choose strategy ddp")
    try:
        yield
    except BaseException:
        if isinstance(launcher, _SubprocessScriptLauncher):
            launcher.kill(signal.SIGKILL)
        raise
