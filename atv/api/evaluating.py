"""What a model is asked, and what it scores."""

from collections.abc import Sequence
from pathlib import Path

import lightning as L
from transformers import PreTrainedModel, ProcessorMixin

from atv.bundled import BUNDLED
from atv.data.sources import load_evaluation
from atv.evaluation.benchmarks.dense_answers import dense_answers
from atv.evaluation.benchmarks.loaded import chosen_benchmarks, load_all
from atv.evaluation.question_sets import Asking, Benchmarks, Questions, Suite
from atv.plugins import at_least
from atv.records.evaluation_report import EvaluationReport
from atv.records.files import writable
from atv.runtime.trainer import quiet_trainer


def questions(
    benchmark: Sequence[str] | str | None = None,
    *,
    data: Path | None = None,
    dense: Path | None = None,
    evaluation: str = BUNDLED,
    split: str = "test",
    groups: int | None = None,
) -> Questions:
    """Questions with their data, for ``evaluate``: read once for all models that are asked.

    Args:
        benchmark: names, in a list or with commas between them, "all" for the nine; None is the bundled suite.
        data: of benchmarks, a folder with a local copy of the data set, or of several; None downloads it.
        dense: of benchmarks, the output folder of the dense model's evaluation, for retention.
        evaluation: of the suite, "bundled" or the folder of a data set with the same columns.
        split: of the suite, dev or test.
        groups: of each task or benchmark, only the first so many groups of questions (rotations and pairs are one).

    Raises:
        ValueError: for an unknown benchmark, data that are missing or lack columns, options of the other kind, or
            groups under 1.
    """
    at_least(1, groups=groups)
    if benchmark is None:
        if (data, dense) != (None, None):
            raise ValueError("data and dense are of benchmarks: name one with --benchmark")
        return Suite(load_evaluation(evaluation, split, groups), evaluation, split, groups)
    loaded = load_all(chosen_benchmarks(benchmark), data, groups)
    return Benchmarks(loaded, data, groups, None if dense is None else dense_answers(dense, loaded))


def evaluate(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    asked: Questions | None = None,
    *,
    batch_size: int | None = None,
    max_new_tokens: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    output: str | Path | None = None,
    trainer: L.Trainer | None = None,
) -> EvaluationReport:
    """Asks a model, pruned or not, by greedy decoding, and scores its answers.

    Args:
        asked: from ``questions``; None is the bundled suite.
        batch_size: questions generated at once; None is 16 for the suite, 8 for benchmarks.
        max_new_tokens: longest answer; None is 16 for the suite, each benchmark's own.
        min_pixels, max_pixels: smallest and largest area of a picture; None is what the processor says, on benchmarks
            what lmms-eval sets for the model's type.
        output: folder for scores.json and every answer; the same call on benchmarks goes on from what is there.
        trainer: runs the prediction loop; None makes one with a progress bar.

    Raises:
        ValueError: when nothing can be written there or another run is there, for a picture that cannot be read, or a
            number under 1.
    """
    at_least(1, batch_size=batch_size, max_new_tokens=max_new_tokens)
    folder = None if output is None else writable(output, "output")
    how = Asking(batch_size, max_new_tokens, min_pixels, max_pixels, trainer or quiet_trainer(), folder)
    report = (asked or questions()).ask(model, processor, how)
    if folder is not None and how.trainer.is_global_zero:
        report.write(folder)
    return report
