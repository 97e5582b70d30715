"""``atv finetune``"""

import shutil
import time
from collections.abc import Sequence, Sized
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel, ProcessorMixin

from atv.bundled import BUNDLED
from atv.data.base import CalibrationData
from atv.data.calibration_batches import Drawing
from atv.data.sources import load_calibration
from atv.finetuning.batches import ConversationBatches, Sample, batched, drawn, shuffled
from atv.finetuning.fit_trainer import CHECKPOINTS, LogTo, last_checkpoint, training_trainer
from atv.finetuning.settings import Settings
from atv.finetuning.training_run import Outcome, finish, fit, prepare
from atv.model.loading import load_model, model_folder
from atv.model.lvlm import LVLM
from atv.output import sidecar
from atv.output.model_card import leave_card
from atv.records.digests import tensors_digest, weights_digest
from atv.records.files import saved_atomically, writable
from atv.records.masks import load_masks
from atv.records.provenance import git_revision, hardware, versions
from atv.records.run_folder import RunFolder, is_run
from atv.runtime.preemption import Preempted


def finetune(
    folder: Path,
    output: Path,
    calibration: str | CalibrationData = BUNDLED,
    samples: int = 1920,
    validation: int = 128,
    max_length: int | None = None,
    epochs: int = 3,
    batch_size: int = 16,
    learning_rate: float = 1e-4,
    weight_decay: float = 0.0,
    warmup: float = 0.05,
    lora_rank: int | None = None,
    lora_alpha: float = 16.0,
    train_also: list[str] | None = None,
    gradient_checkpointing: bool = False,
    checkpoint_every: int = 100,
    workers: int = 0,
    log_to: LogTo | None = None,
    plugin: list[Path] | Path | None = None,
    seed: int = 0,
    trainer: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Train a pruned model's kept weights on answers; its zeros stay zero.

    The kept weights of the pruned Linears and experts are trained, all else is frozen. The output is a folder as
    atv prune writes it. The same command goes on from the last checkpoint where it was killed.

    Args:
        folder: Folder that atv prune wrote.
        output: Folder to write: new, empty, or with an unfinished run of the same command.
        calibration: "bundled", file, folder, hub id, or a class name or dotted path, as for atv prune.
        samples: To train on, drawn by the seed; the first of them are those that atv prune draws.
        validation: Samples held out, drawn after these; their loss is shown before and after every epoch. May be 0.
        max_length: Longest sample in tokens; longer ones lose text from their end, never a picture's part.
        epochs: How often every sample is seen.
        batch_size: Samples a forward pass, on each rank.
        learning_rate: The highest; it rises linearly and falls as a cosine to zero.
        weight_decay: Of AdamW.
        warmup: Share of all steps in which the learning rate rises.
        lora_rank: Train a masked low-rank update of each pruned weight instead of the weight, and merge it in the end.
        lora_alpha: The update is multiplied by this over the rank.
        train_also: Names or shell patterns of parameters to train beside, such as *multi_modal_projector*.
        gradient_checkpointing: Compute each block twice and keep less in memory.
        checkpoint_every: Optimizer steps between checkpoints.
        workers: Processes that read and encode samples ahead of time.
        log_to: Write losses to OUTPUT/log/metrics.csv (csv), or to a W&B run (wandb).
        plugin: Python file, or list of files, with calibration data of your own, imported first.
        seed: Of the samples drawn, their order and the adapters.
        trainer: Options of lightning.Trainer, as --trainer.devices 8 --trainer.precision bf16-mixed or
            --trainer.accumulate_grad_batches 4.
        trust_remote_code: Whether code that comes with the model may run.
    """
    base = model_folder(str(folder))
    sidecar.read(base)
    masks = load_masks(base / sidecar.MASKS)
    data = load_calibration(calibration)
    settings = Settings(
        epochs, batch_size, learning_rate, weight_decay, warmup, lora_rank, lora_alpha, tuple(train_also or ()), seed
    )
    target = writable(output, "output")
    if any(target.iterdir()) and not is_run(target):
        raise ValueError(f"output: {str(target)!r} is not empty and holds no run of this command")
    runner = training_trainer(target, checkpoint_every, log_to, trainer or {})
    _require_samples(data, samples, validation)
    model, processor = load_model(base, trust_remote_code)
    lvlm = LVLM.of(model)
    digest = weights_digest(model.named_parameters())
    L.seed_everything(seed, verbose=False)
    prepare(lvlm, masks, settings)
    _set_up(lvlm, str(runner.precision), gradient_checkpointing)
    console = Console(stderr=True, quiet=not runner.is_global_zero)
    with console.status("reading samples"):
        found = drawn(Drawing(processor, data, samples + validation, max_length, console), seed)
    multiple = runner.world_size * runner.accumulate_grad_batches
    batches, watched = _batches(found, processor, samples, settings, multiple)
    told: dict[str, Any] = {
        "settings": asdict(settings),
        "precision": str(runner.precision),
        "step": {"ranks": runner.world_size, "accumulated": runner.accumulate_grad_batches},
        "data": {
            "samples": samples,
            "validation": validation,
            "max_length": max_length,
            "first batch": tensors_digest([batches[0]]),
        },
    }
    run = RunFolder(target, {"command": "finetune", "model": digest} | told)
    if (target / "config.json").is_file():
        Console().print(f"this run was finished before; it is in {target}")
        return
    if runner.is_global_zero:
        run.begin()
    started = time.perf_counter()
    try:
        outcome = fit(lvlm, settings, batches, watched, runner, last_checkpoint(target), workers)
    except SIGTERMException as stopped:
        raise Preempted("stopped by SIGTERM; the same command goes on from the last checkpoint") from stopped
    if not runner.is_global_zero:
        return
    # The model of the trainer is cast, and perhaps sharded; this one is as it was pruned.
    tuned, _ = load_model(base, trust_remote_code)
    finish(LVLM.of(tuned), masks, settings, outcome.weights)
    origin = {"from": str(folder), "data": data.record(), "samples": samples, "validation": validation}
    done = {"steps": outcome.steps, "losses": outcome.validation, "seconds": time.perf_counter() - started}
    made = {"precision": str(runner.precision), **told["step"], **done}
    _save(base, target, tuned, processor, origin | asdict(settings) | made)
    _show(outcome, target)


def _require_samples(data: CalibrationData, samples: int, validation: int) -> None:
    if samples < 1 or validation < 0 or (isinstance(data, Sized) and samples + validation > len(data)):
        most = f"1 to {len(data)} (the data's samples)" if isinstance(data, Sized) else "at least 1"
        raise ValueError(f"samples: expected {most} with those for validation, got {samples} and {validation}")


def _batches(
    found: Sequence[Sample], processor: ProcessorMixin, samples: int, settings: Settings, multiple: int
) -> tuple[ConversationBatches, ConversationBatches | None]:
    """Those to train on, from the first ``samples``, and those to watch, from the rest."""
    pictured, size = [bool(sample.pictures) for sample in found], settings.batch_size
    plan = shuffled(pictured[:samples], settings.epochs, size, multiple, settings.seed)
    whole, rest = batched(range(samples, len(found)), pictured, size)
    watched = ConversationBatches(found, processor, whole + rest) if whole + rest else None
    return ConversationBatches(found, processor, plan), watched


def _set_up(lvlm: LVLM, precision: str, gradient_checkpointing: bool) -> None:
    """Float32 unless the precision is a true lower one; updates are far smaller than the steps of half precision."""
    if precision not in ("bf16-true", "16-true"):
        lvlm.model.float()
    if gradient_checkpointing:
        lvlm.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        # The blocks alone, which transformers asks for; nothing else is to behave otherwise.
        lvlm.blocks.train()


def _save(
    base: Path, target: Path, model: PreTrainedModel, processor: ProcessorMixin, finetuning: dict[str, Any]
) -> None:
    """Writes what ``atv prune`` wrote, with the trained weights and ``finetuning`` in the report; config.json last."""
    made = {"versions": versions(), "git": git_revision(), "hardware": hardware()}
    report = {name: value for name, value in sidecar.read(base).items() if name != "scores"}

    def write(into: Path) -> None:
        model.save_pretrained(into)
        processor.save_pretrained(into)
        shutil.copy(base / sidecar.MASKS, into / sidecar.MASKS)
        leave_card(into, report | {"finetuning": finetuning | made})

    saved_atomically(target, write)
    shutil.rmtree(target / CHECKPOINTS, ignore_errors=True)


def _show(outcome: Outcome, target: Path) -> None:
    console = Console()
    if outcome.validation:
        table = Table("step", "validation loss")
        for seen in outcome.validation:
            table.add_row(str(seen["step"]), f"{seen['loss']:.4f}")
        console.print(table)
    console.print(f"trained for {outcome.steps} steps, zeros intact; written to {target}")
