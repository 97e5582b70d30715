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

    The kept weights of the pruned Linears and experts are trained, all else is frozen. The output is a folder as
    atv prune writes it. The same command goes on from the last checkpoint where it was killed.

    Args:
        output: Folder to write the trained model to: new, empty, or with an unfinished run of the same command.
        calibration: Conversations with pictures to learn from, named as for atv prune: a file, a folder, a hub id, a
            class name or dotted path, "bundled" or "everyday". Default: "everyday" for what was pruned from the
            everyday model, else "bundled".
        teacher: Dense model whose outputs at the samples' text tokens are learned in place of their answers, which are
            not needed then: "base", the model that was pruned, by the name in report.json; or a folder, hub id,
            "bundled" or "everyday" as for atv prune. It is held in memory beside the one that is trained. Default:
            none.
        samples: Number of samples to train on, drawn by the seed; the first of them are those that atv prune draws.
        validation: Number of samples held out, drawn after these; their loss is shown before and after every epoch. May
            be 0.
        gradient_checkpointing: Whether each block is computed twice, to keep less in memory.
        checkpoint_every: Number of optimizer steps between checkpoints.
        workers: Number of processes that read and encode samples ahead of time.
        logger: Where losses are logged: csv (OUTPUT/log/metrics.csv) or wandb (a W&B run, offline unless you are
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
        console.print(f"this run was finished before; it is in {output}")
    else:
        _show(outcome, output, console)


def _show(outcome: Finetuned, target: Path, console: Console) -> None:
    if outcome.validation:
        table = Table("step", "validation loss")
        for seen in outcome.validation:
            table.add_row(str(seen["step"]), f"{seen['loss']:.4f}")
        console.print(table)
    console.print(f"trained for {outcome.steps} steps, zeros intact; written to {target}")
