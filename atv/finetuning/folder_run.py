"""Complete fine-tuning of a pruned model's folder to a new one: samples, training, checkpoints, finished model."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.seed import isolate_rng
from rich.console import Console
from transformers import PreTrainedModel, ProcessorMixin

from atv.data.base import CalibrationData
from atv.data.calibration_batches import SampleDraw, require_samples
from atv.data.sources import load_calibration
from atv.finetuning.batches import ConversationBatches, Lessons, require_answer
from atv.finetuning.fit_trainer import CHECKPOINTS, LOG, LogTo, last_checkpoint, training_trainer
from atv.finetuning.objectives import AnswerLoss, DistillationLoss, Teacher
from atv.finetuning.settings import Settings
from atv.finetuning.training_run import Diverged, Finetuned, finish, fit, prepare
from atv.model.loading import load_model, model_folder
from atv.model.lvlm import LVLM
from atv.model.positions import require_batch_size
from atv.output.pruned_folder import read_pruned, write_pruned
from atv.output.report_masks import masks_of
from atv.records.digests import content_digest, tensors_digest, weights_digest
from atv.records.provenance import provenance
from atv.records.pruning_report import PruningReport
from atv.records.run_folder import RunFolder, run_folder
from atv.runtime.preemption import NOTHING, Preempted


def finetune(
    folder: str | Path,
    output: str | Path,
    calibration: str | CalibrationData | None = None,
    *,
    teacher: str | Path | None = None,
    samples: int = 1920,
    validation: int = 128,
    max_length: int | None = None,
    settings: Settings | None = None,
    gradient_checkpointing: bool = False,
    checkpoint_every: int = 100,
    workers: int = 0,
    logger: LogTo | None = None,
    trainer: Mapping[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> Finetuned | None:
    """Trains a pruned model's kept weights and writes the result; zeros stay zero, and everything else is frozen.
    After an interruption, the same call resumes from the last checkpoint.

    Args:
        folder: folder of a pruned model.
        output: folder to write: new, empty, or with an unfinished run of the same call.
        calibration: data, as for ``atv.calibration_batches``; None chooses what suits the model that was pruned.
        teacher: dense model whose outputs at the samples' text tokens are learned in place of their answers: a folder,
            hub id, "bundled" or "everyday", or "base" for the one that the folder's report names.
        samples, validation: number of training samples, and of held-out samples after these (or 0), drawn by the seed.
        max_length: longest sample in tokens; longer ones lose text from their end.
        settings: settings of the training itself; None uses the defaults.
        gradient_checkpointing: compute each block twice to use less memory.
        checkpoint_every: optimizer steps between checkpoints.
        workers: processes that read and encode samples ahead of time.
        logger: write losses to log/metrics.csv (csv) or to a W&B run (wandb).
        trainer, trust_remote_code: options of lightning.Trainer; whether code that comes with the model may run.

    Returns:
        The trained parameters; None if the run was already finished.

    Raises:
        ValueError: if the folder is not a pruned model, the output holds something else, or options or data do not
            fit; before training starts. Its subclass Diverged: if a loss or a weight is not finite.
        Preempted: if SIGTERM was received.
    """
    base, settings = _Base.of(folder, trust_remote_code), settings or Settings()
    data = load_calibration(calibration, str(base.folder))
    target = run_folder(output, "output")
    runner = training_trainer(target, checkpoint_every, logger, dict(trainer or {}))
    require_samples(data, samples, validation)
    # Random generators start at the seed, and return to their earlier state afterwards.
    with isolate_rng():
        L.seed_everything(settings.seed, verbose=False)
        lvlm = base.prepared(settings, str(runner.precision), gradient_checkpointing)
        dense_teacher = None if teacher is None else base.teacher(str(teacher))
        console, learns_answers = Console(stderr=True, quiet=not runner.is_global_zero), dense_teacher is None
        check_sample = require_answer if learns_answers else None
        sample_draw = SampleDraw(
            base.processor, data, samples + validation, max_length, console, check_sample, learns_answers
        )
        lessons = Lessons.draw(sample_draw, samples, settings.seed)
        batches, held_out = lessons.batches(settings, runner.world_size * runner.accumulate_grad_batches)
        if (run := RunFolder(target, _identity(base, dense_teacher, settings, runner, lessons, batches))).saved:
            return None
        if runner.is_global_zero:
            run.begin()
        started = time.perf_counter()
        with _preempted_when_stopped(target), _cleared_when_diverged(run):
            objective = AnswerLoss() if dense_teacher is None else DistillationLoss(dense_teacher.lvlm)
            outcome = fit(lvlm, objective, settings, batches, held_out, runner, last_checkpoint(target), workers)
    if runner.is_global_zero:
        training_record = _training_record(settings, runner, outcome, time.perf_counter() - started)
        base.write(target, settings, outcome, _teacher_identity(dense_teacher) | lessons.record() | training_record)
    return outcome


@dataclass(frozen=True)
class _Base:
    """The pruned model that is trained: its name as given, its folder, and its report."""

    name: str
    folder: Path
    report: PruningReport
    trust_remote_code: bool

    @classmethod
    def of(cls, folder: str | Path, trust_remote_code: bool) -> "_Base":
        """Finds the model of a folder or hub id.

        Raises:
            ValueError: if it is not a pruned model.
        """
        source = model_folder(str(folder))
        return cls(str(folder), source, read_pruned(source), trust_remote_code)

    @cached_property
    def _loaded(self) -> tuple[PreTrainedModel, ProcessorMixin]:
        return load_model(self.folder, self.trust_remote_code)

    @property
    def processor(self) -> ProcessorMixin:
        return self._loaded[1]

    @cached_property
    def digest(self) -> str:
        """A digest of the weights, computed before anything is made trainable."""
        return weights_digest(self._loaded[0].named_parameters())

    def teacher(self, name: str) -> Teacher:
        """Loads the teacher of that name or, for "base", the model that the report names."""
        return Teacher.of(name, self.report.base, *self._loaded, self.trust_remote_code)

    def prepared(self, settings: Settings, precision: str, gradient_checkpointing: bool) -> LVLM:
        """Returns the model, prepared for training.

        It is cast to float32 unless the trainer's precision is a true half precision, because updates are far smaller
        than the steps of half precision.

        Raises:
            ValueError: if the model's type reads samples differently in a batch than alone, and batches have several.
        """
        lvlm = LVLM.of(self._loaded[0])
        require_batch_size(lvlm.model, settings.batch_size)
        assert self.digest
        prepare(lvlm, masks_of(self.report, lvlm), settings)
        if precision not in ("bf16-true", "16-true"):
            lvlm.model.float()
        if gradient_checkpointing:
            lvlm.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            # transformers requires training mode for checkpointing; only the blocks, so that all else stays the same.
            lvlm.blocks.train()
        return lvlm

    def write(self, target: Path, settings: Settings, outcome: Finetuned, training_record: Mapping[str, Any]) -> None:
        """Writes the same files as pruning, with trained weights, and the ``training_record`` in the report."""
        # The trainer's model is cast, and may be sharded; this one is as pruning saved it.
        model, _ = load_model(self.folder, self.trust_remote_code)
        lvlm = LVLM.of(model)
        finish(lvlm, masks_of(self.report, lvlm), settings, outcome.weights)
        finetuning_record = {"from": self.name} | dict(training_record)
        write_pruned(target, model, self.processor, replace(self.report, scores={}, finetuning=finetuning_record))
        shutil.rmtree(target / CHECKPOINTS, ignore_errors=True)


def _identity(
    base: _Base,
    teacher: Teacher | None,
    settings: Settings,
    trainer: L.Trainer,
    lessons: Lessons,
    batches: ConversationBatches,
) -> dict[str, Any]:
    """Returns what distinguishes this run from others: its settings, and the digests of model and data."""
    step = {"ranks": trainer.world_size, "accumulated": trainer.accumulate_grad_batches}
    data = {
        "samples": lessons.samples,
        "validation": lessons.validation,
        "max_length": lessons.sample_draw.max_length,
        # The text of all samples, and the tensors of the first batch: pictures, template and processor affect these.
        "conversations": content_digest([sample.chat for sample in lessons.all_samples]),
        "first batch": tensors_digest([batches[0]]),
    }
    request = {"command": "finetune", "model": base.digest, **_teacher_identity(teacher), "settings": asdict(settings)}
    return request | {"precision": str(trainer.precision), "step": step, "data": data}


def _teacher_identity(teacher: Teacher | None) -> dict[str, str]:
    """Returns whose outputs are learned; empty if answers are learned."""
    return {} if teacher is None else {"teacher": teacher.name, "teacher_digest": teacher.digest}


def _training_record(settings: Settings, trainer: L.Trainer, outcome: Finetuned, seconds: float) -> dict[str, Any]:
    """Returns how the training was done and went, for the report."""
    facts = {"precision": str(trainer.precision), "ranks": trainer.world_size}
    facts |= {"accumulated": trainer.accumulate_grad_batches, "steps": outcome.steps, "losses": outcome.validation}
    return asdict(settings) | facts | {"seconds": seconds} | provenance()


@contextmanager
def _cleared_when_diverged(run: RunFolder) -> Iterator[None]:
    """Removes checkpoints and logs of a training that diverged, so that a different one can start in its folder."""
    try:
        yield
    except Diverged:
        for name in (CHECKPOINTS, LOG, "wandb"):
            shutil.rmtree(run.folder / name, ignore_errors=True)
        run.forget()
        raise


@contextmanager
def _preempted_when_stopped(target: Path) -> Iterator[None]:
    """Raises Preempted, which says what is kept, when SIGTERM ends the training."""
    try:
        yield
    except SIGTERMException as error:
        kept_progress = (
            "the same command resumes from the last checkpoint" if last_checkpoint(target).exists() else NOTHING
        )
        raise Preempted(f"stopped by SIGTERM; {kept_progress}") from error
