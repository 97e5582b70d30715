"""Answers of several models, compared question by question."""

from collections.abc import Sequence
from pathlib import Path

from atv.api.evaluating import questions
from atv.comparison.alike import check_alike
from atv.comparison.answers import Answers, read_folder, with_seeds
from atv.comparison.compared import Comparison
from atv.comparison.known_questions import KnownQuestions
from atv.comparison.other_engines import is_other, read_other
from atv.comparison.outcome import write_comparison
from atv.evaluation.benchmarks.loaded import chosen_benchmarks, load_benchmark
from atv.evaluation.question_sets import Benchmarks, Questions
from atv.plugins import at_least
from atv.records.files import writable

Source = str | Path
FLIPS = 100


def compare(
    *models: Source | Sequence[Source],
    benchmark: Sequence[str] | str | None = None,
    data: Path | None = None,
    evaluation: str | None = None,
    split: str = "test",
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
        split: of that suite.
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
    read = {path: _of(read_folder(path), names) for each in paths for path in each if not is_other(path)}
    own = next(iter(read.values()), None)
    known = KnownQuestions(asked, own)
    read |= {path: read_other(path, known) for each in paths for path in each if path not in read}
    comparison = Comparison.of([_seeds([read[path] for path in each]) for each in paths])
    if folder is not None:
        shown = known if asked is not None or own is None else KnownQuestions(_recorded(own), own)
        write_comparison(comparison, folder, shown, flips)
    return comparison


def _of(answers: Answers, names: Sequence[str] | None) -> Answers:
    return answers if names is None else answers.of(names)


def _asked(
    benchmark: Sequence[str] | str | None, data: Path | None, evaluation: str | None, split: str, groups: int | None
) -> Questions | None:
    """The data that were named: of a benchmark only where its folder was, since nothing is to be downloaded."""
    if data is not None:
        return questions(benchmark, data=data, groups=groups)
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


def _seeds(parts: Sequence[Answers]) -> Answers:
    """One model with its seeds."""
    for part in parts[1:]:
        check_alike(parts[0], part)
        if part.inputs and part.name != parts[0].name:
            raise ValueError(f"seeds of one model have the same labels; {part.name!r} is not {parts[0].name!r}")
    return with_seeds(parts) if len(parts) > 1 else parts[0]
