"""What a model is asked, what it scores, and how its answers differ from others, question by question."""

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
from atv.evaluation.question_sets import Asking, Benchmarks, Questions, Suite
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
    """Questions with their data, for ``evaluate``: read once for all models that are asked.

    Args:
        benchmark: names, in a list or with commas between them, "all" for the nine; None is the bundled suite.
        data: of benchmarks, a folder with a local copy of the data set, or of several; None downloads it.
        dense: of benchmarks, the output folder of the dense model's evaluation, for retention.
        evaluation: of the suite, "bundled", "everyday" or the folder of a data set with the same columns; None is
            "bundled".
        split: of the suite, dev or test; None is test. Each benchmark has its own.
        groups: of each task or benchmark, only the first so many groups of questions (rotations and pairs are one).

    Raises:
        ValueError: for an unknown benchmark, data that are missing or lack columns, options of the other kind, or
            groups under 1.
    """
    at_least(1, groups=groups)
    if benchmark is None:
        if (data, dense) != (None, None):
            raise ValueError("data and dense are of benchmarks: name one with --benchmark")
        evaluation, split = BUNDLED if evaluation is None else evaluation, "test" if split is None else split
        return Suite(load_evaluation(evaluation, split, groups), evaluation, split, groups)
    _require_no_suite(evaluation, split)
    folder = None if data is None else Path(data)
    # Whatever is wrong with any of them is known before a model is loaded.
    loaded = [load_benchmark(each, folder, groups) for each in chosen_benchmarks(benchmark)]
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
    folder = None if output is None else Path(output)
    how = Asking(batch_size, max_new_tokens, min_pixels, max_pixels, trainer or quiet_trainer(), folder)
    if folder is not None:
        writable(folder, "output")
    return answered(model, processor, asked or questions(), how)


def answered(model: PreTrainedModel, processor: ProcessorMixin, asked: Questions, how: Asking) -> EvaluationReport:
    """``evaluate`` with its options in one, which were checked when ``how`` was made: before a model is loaded."""
    report = asked.ask(model, processor, how)
    if how.output is not None and how.trainer.is_global_zero:
        report.write(how.output)
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
    """Compares what models answered to the same questions with what the first of them answered.

    Scores are compared in pairs, with intervals by resampling what belongs together (rotations, pairs, questions about
    one picture) and seeds, and p-values by swapping the two models' answers, corrected over all comparisons of the
    call. Nothing is asked and nothing is downloaded.

    Args:
        models: the first, and those to compare with it. Each is a folder that ``evaluate`` or an ablation's cell wrote
            answers to, a JSONL file, or a folder of lmms-eval's logged samples; or several of these, one a seed.
        benchmark: compare on these benchmarks alone; None is all that was asked.
        data: folder with a local copy of the benchmarks, for pictures and for answers of other engines.
        evaluation: the suite that was asked, "bundled", "everyday" or a folder; None is what the first folder says.
        split: of that suite; None is test.
        groups: of each task or benchmark only the first so many groups were asked; None is what the first folder says.
        flips: questions whose answers flipped on the page, at most.
        output: folder for comparison.json, differences.png, answers.png and comparison.html.

    Raises:
        ValueError: for folders without answers, and for models that were asked other questions, or in another way:
            the message says what differs.
    """
    at_least(0, flips=flips)
    folder = None if output is None else writable(output, "output")
    sources = [[model] if isinstance(model, str | Path) else list(model) for model in models]
    paths = [[Path(source) for source in each] for each in sources]
    names = None if benchmark is None else [each.name for each in chosen_benchmarks(benchmark)]
    asked = _asked(benchmark, data, evaluation, split, groups)
    read = {path: read_folder(path) for each in paths for path in each if not is_other(path)}
    if names is not None:
        read = {path: answers.of(names) for path, answers in read.items()}
    own = next(iter(read.values()), None)
    known = KnownQuestions(asked, own)
    read |= {path: read_other(path, known) for each in paths for path in each if path not in read}
    comparison = Comparison.of([one_model([read[path] for path in each]) for each in paths])
    if folder is not None:
        shown = known if asked is not None or own is None else KnownQuestions(_recorded(own), own)
        write_comparison(comparison, folder, shown, flips)
    return comparison


def _require_no_suite(evaluation: str | None, split: str | None) -> None:
    if (evaluation, split) != (None, None):
        raise ValueError("evaluation and split are of the suite: leave them out beside --benchmark, which has its own")


def _asked(
    benchmark: Sequence[str] | str | None,
    data: str | Path | None,
    evaluation: str | None,
    split: str | None,
    groups: int | None,
) -> Questions | None:
    """The data that were named: of a benchmark only where its folder was, since nothing is to be downloaded."""
    if data is not None:
        return questions(benchmark, data=data, evaluation=evaluation, split=split, groups=groups)
    if benchmark is not None:
        _require_no_suite(evaluation, split)
    if evaluation is None and split is not None:
        raise ValueError(f"split: {split!r} is of a suite: name it with --evaluation")
    return None if evaluation is None else questions(evaluation=evaluation, split=split, groups=groups)


def _recorded(answers: Answers) -> Questions | None:
    """The data that a folder says it was asked, where it says so and they are still there."""
    groups = int(answers.rows.groupby("task")["group"].nunique().max())
    try:
        if folders := answers.suite.get("data"):
            local = {name: Path(folder) for name, folder in folders.items() if folder and name in answers.tasks}
            return Benchmarks([load_benchmark(name, folder, groups) for name, folder in local.items()])
        named = {name: answers.suite[name] for name in ("evaluation", "split") if name in answers.suite}
        return questions(**named, groups=groups) if named else None
    except ValueError:
        # Then the page says that the data are not at hand.
        return None
