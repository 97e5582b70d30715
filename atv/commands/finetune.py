"""``atv finetune``"""

from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

import atv
from atv.data.base import CalibrationData
from atv.finetuning.fit_trainer import LogTo
from atv.finetuning.settings import Settings
from atv.finetuning.training_run import Finetuned


def finetune(
    folder: Path,
    output: Path,
    calibration: str | CalibrationData | None = None,
    teacher: str | None = None,
    samples: int = 1920,
    validation: int = 128,
    max_length: int | None = None,
    settings: Settings = Settings(),
    gradient_checkpointing: bool = False,
    checkpoint_every: int = 100,
    workers: int = 0,
    logger: LogTo | None = None,
    plugin: list[Path] | Path | None = None,
    trainer: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Train a pruned model's kept weights on answers or on the dense model's outputs; its zeros stay zero.

    Trains the kept weights of the pruned Linears and experts, and what train_also names; everything else is frozen.
    The output folder has the layout that atv prune writes. The same command resumes a killed run from the last
    checkpoint.

    Args:
        output: Folder to write the trained model to: new, empty, or with an unfinished run of the same command.
        calibration: Conversations with pictures to train on, specified as for atv prune: a file, a folder, a hub id, a
            class name or dotted path, "bundled" or "everyday". Default: "everyday" if the model was pruned from the
            everyday model, otherwise "bundled".
        teacher: Dense model whose outputs at the samples' text tokens are the training target in place of the answers,
            which are then not needed. "base" is the model that was pruned, by its name in report.json; a folder, a hub
            id, "bundled" and "everyday" work as for atv prune. It is held in memory beside the model being trained.
            Default: none.
        samples: Number of samples to train on, drawn by the seed; the first of them are those that atv prune draws.
        validation: Number of held-out samples, drawn after the training samples; the loss on them is shown before
            training and after every epoch. May be 0.
        gradient_checkpointing: Whether to compute the forward pass of each block twice, to save memory.
        checkpoint_every: Number of optimizer steps between checkpoints.
        workers: Number of processes that read and encode samples ahead of time.
        logger: Where to log losses: csv (OUTPUT/log/metrics.csv) or wandb (a W&B run, offline unless you are
            logged in or WANDB_MODE says otherwise). Default: nowhere.
    """
    outcome = atv.finetune(
        folder,
        output,
        calibration,
        teacher=teacher,
        samples=samples,
        validation=validation,
        max_length=max_length,
        settings=settings,
        gradient_checkpointing=gradient_checkpointing,
        checkpoint_every=checkpoint_every,
        workers=workers,
        logger=logger,
        trainer=trainer,
        trust_remote_code=trust_remote_code,
    )
    console = Console(quiet=getattr(rank_zero_only, "rank", 0) != 0)
    if outcome is None:
        console.print(f"this run is already finished; its output is in {output}")
    else:
        _print_outcome(outcome, output, console)


def _print_outcome(outcome: Finetuned, target: Path, console: Console) -> None:
    if outcome.validation:
        table = Table("step", "validation loss")
        for measurement in outcome.validation:
            table.add_row(str(measurement["step"]), f"{measurement['loss']:.4f}")
        console.print(table)
    console.print(f"trained for {outcome.steps} steps, zeros intact; written to {target}")
