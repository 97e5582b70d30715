"""Loads questions, scores a model's answers to them, and compares the answers of several models."""

from collections.abc import Sequence
from pathlib import Path

import lightning as L
from transformers import PreTrainedModel, ProcessorMixin

from atv.bundled import BUNDLED
from atv.comparison.answers import Answers, read_folder
from atv.comparison.compared import Comparison
from atv.comparison.known_questions import KnownQuestions
from atv.comparison.one_model import one_model
from atv.comparison.other_engines import is_other, read_other
from atv.comparison.outcome import write_comparison
from atv.data.sources import load_evaluation
from atv.evaluation.benchmarks.loaded import chosen_benchmarks, dense_answers, load_benchmark
from atv.evaluation.question_sets import Benchmarks, EvaluationSettings, Questions, Suite
from atv.plugins import at_least
from atv.records.evaluation_report import EvaluationReport
from atv.records.files import writable
from atv.runtime.trainer import quiet_trainer

Source = str | Path
FLIPS = 100


def questions(
    benchmark: Sequence[str] | str | None = None,
    *,
    data: str | Path | None = None,
    dense: str | Path | None = None,
    evaluation: str | None = None,
    split: str | None = None,
    groups: int | None = None,
) -> Questions:
    """Loads questions and their data for ``evaluate``, once for all models that are to be asked.

    Args:
        benchmark: names of benchmarks, as a list or separated by commas; "all" for the nine. None is the bundled suite.
        data: for benchmarks: folder with a local copy of the data set, or of several. None downloads it.
        dense: for benchmarks: output folder of the dense model's evaluation, to compute retention.
        evaluation: for a suite: "bundled", "everyday" or the folder of a data set with the same columns. None is
            "bundled".
        split: for a suite: dev or test. None is test. Each benchmark has its own split.
        groups: number of question groups to ask of each task or benchmark, counted from the first (rotations or pairs
            form one group). None is all.

    Raises:
        ValueError: if a benchmark is unknown, data are missing or lack columns, options of suites and benchmarks are
            mixed, or ``groups`` is less than 1.
    """
    at_least(1, groups=groups)
    if benchmark is None:
        if (data, dense) != (None, None):
            raise ValueError("data and dense are for benchmarks only: name one with --benchmark")
        evaluation, split = BUNDLED if evaluation is None else evaluation, "test" if split is None else split
        return Suite(load_evaluation(evaluation, split, groups), evaluation, split, groups)
    _require_no_suite(evaluation, split)
    folder = None if data is None else Path(data)
    # Problems with any of them are reported before a model is loaded.
    loaded = [load_benchmark(chosen, folder, groups) for chosen in chosen_benchmarks(benchmark)]
    return Benchmarks(loaded, folder, groups, None if dense is None else dense_answers(Path(dense), loaded))


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
    """Asks a model, pruned or not, generates its answers by greedy decoding, and scores them.

    Args:
        asked: questions, as ``questions`` returns them. None is the bundled suite.
        batch_size: number of questions answered at once. None is 16 for the suite, 8 for benchmarks.
        max_new_tokens: maximum length of an answer. None is 16 for the suite; each benchmark has its own.
        min_pixels, max_pixels: smallest and largest area of a picture. None is the processor's own setting; on
            benchmarks, what lmms-eval sets for the model's type.
        output: folder for scores.json and every answer; on benchmarks, the same call resumes from the answers there.
        trainer: runs the prediction loop. None makes one with a progress bar.

    Raises:
        ValueError: if ``output`` cannot be written or holds a different run, a picture cannot be read, or a number is
            less than 1.
    """
    folder = None if output is None else Path(output)
    settings = EvaluationSettings(
        batch_size, max_new_tokens, min_pixels, max_pixels, trainer or quiet_trainer(), folder
    )
    if folder is not None:
        writable(folder, "output")
    return evaluate_questions(model, processor, asked or questions(), settings)


def evaluate_questions(
    model: PreTrainedModel, processor: ProcessorMixin, question_set: Questions, settings: EvaluationSettings
) -> EvaluationReport:
    """Like ``evaluate``, with its options in ``settings``, which checked them when made, before a model is loaded."""
    report = question_set.ask(model, processor, settings)
    if settings.output is not None and settings.trainer.is_global_zero:
        report.write(settings.output)
    return report


def compare(
    *models: Source | Sequence[Source],
    benchmark: Sequence[str] | str | None = None,
    data: str | Path | None = None,
    evaluation: str | None = None,
    split: str | None = None,
    groups: int | None = None,
    flips: int = FLIPS,
    output: str | Path | None = None,
) -> Comparison:
    """Compares models' answers with those of the first model to the same questions.

    Differences in scores are paired. Their intervals come from resampling seeds and what belongs together (rotations,
    pairs, questions about one picture); their p-values come from swapping the two models' answers and are corrected
    over all comparisons of the call. No model is run and nothing is downloaded.

    Args:
        models: the first model, and those to compare with it. Each is a folder to which ``evaluate`` or an ablation's
            cell wrote answers, a JSONL file, or a folder of samples that lmms-eval logged; or several of these, one per
            seed.
        benchmark: benchmarks to compare on. None is all that were asked.
        data: folder with a local copy of the benchmarks, for pictures and for answers of other engines.
        evaluation: suite that was asked: "bundled", "everyday" or a folder. None is what the first folder records.
        split: split of that suite. None is test.
        groups: number of question groups that were asked of each task or benchmark, counted from the first. None is
            what the first folder records.
        flips: maximum number of questions with flipped answers on the page.
        output: folder for comparison.json, differences.png, answers.png and comparison.html.

    Raises:
        ValueError: if a folder has no answers, or models were asked different questions or in a different way; the
            message says what differs.
    """
    at_least(0, flips=flips)
    folder = None if output is None else writable(output, "output")
    sources = [[model] if isinstance(model, str | Path) else list(model) for model in models]
    paths = [[Path(source) for source in each] for each in sources]
    names = None if benchmark is None else [each.name for each in chosen_benchmarks(benchmark)]
    asked_questions = _requested_questions(benchmark, data, evaluation, split, groups)
    answers_by_path = {path: read_folder(path) for each in paths for path in each if not is_other(path)}
    if names is not None:
        answers_by_path = {path: answers.of(names) for path, answers in answers_by_path.items()}
    first_answers = next(iter(answers_by_path.values()), None)
    known_questions = KnownQuestions(asked_questions, first_answers)
    answers_by_path |= {
        path: read_other(path, known_questions) for each in paths for path in each if path not in answers_by_path
    }
    comparison = Comparison.of([one_model([answers_by_path[path] for path in each]) for each in paths])
    if folder is not None:
        page_questions = (
            known_questions
            if asked_questions is not None or first_answers is None
            else KnownQuestions(_recorded_questions(first_answers), first_answers)
        )
        write_comparison(comparison, folder, page_questions, flips)
    return comparison


def _require_no_suite(evaluation: str | None, split: str | None) -> None:
    if (evaluation, split) != (None, None):
        raise ValueError("evaluation and split are for suites only: leave them out with --benchmark, which has its own")


def _requested_questions(
    benchmark: Sequence[str] | str | None,
    data: str | Path | None,
    evaluation: str | None,
    split: str | None,
    groups: int | None,
) -> Questions | None:
    """Loads the data that were named; a benchmark's only from a given folder, since nothing may be downloaded."""
    if data is not None:
        return questions(benchmark, data=data, evaluation=evaluation, split=split, groups=groups)
    if benchmark is not None:
        _require_no_suite(evaluation, split)
    if evaluation is None and split is not None:
        raise ValueError(f"split: {split!r} belongs to a suite: name the suite with --evaluation")
    return None if evaluation is None else questions(evaluation=evaluation, split=split, groups=groups)


def _recorded_questions(answers: Answers) -> Questions | None:
    """Loads the data that a folder's answers are about, if the folder records them and they are still there."""
    groups = int(answers.rows.groupby("task")["group"].nunique().max())
    try:
        if folders := answers.suite.get("data"):
            local = {name: Path(folder) for name, folder in folders.items() if folder and name in answers.tasks}
            return Benchmarks([load_benchmark(name, folder, groups) for name, folder in local.items()])
        suite_options = {name: answers.suite[name] for name in ("evaluation", "split") if name in answers.suite}
        return questions(**suite_options, groups=groups) if suite_options else None
    except ValueError:
        # The page then says that the data are not available.
        return None
