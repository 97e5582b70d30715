"""``atv evaluate``"""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import atv
from atv.api.evaluating import evaluate_questions
from atv.bundled import BUNDLED
from atv.data.sources import own_data
from atv.evaluation.benchmarks.loaded import ALL, chosen_benchmarks
from atv.evaluation.lmms_eval import lmms_eval_command
from atv.evaluation.question_sets import EvaluationSettings
from atv.model.loading import model_folder
from atv.plugins import at_least
from atv.records.evaluation_report import EvaluationReport
from atv.records.files import writable
from atv.runtime.trainer import quiet_trainer


def evaluate(
    model: str = BUNDLED,
    benchmark: list[str] | str | None = None,
    data: Path | None = None,
    dense: Path | None = None,
    evaluation: str | None = None,
    split: str | None = None,
    groups: int | None = None,
    batch_size: int | None = None,
    max_new_tokens: int | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    output: Path | None = None,
    print_lmms_eval: bool = False,
    plugin: list[Path] | Path | None = None,
    trainer: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Ask a model the questions of benchmarks or of the bundled suite, and score its answers (greedy decoding).

    Predictions on benchmarks are written to the output folder as they are made, so that the same command resumes a
    killed run.

    Args:
        batch_size: Number of questions answered at once. When several questions are about one picture, it counts
            pictures instead, with at most four times as many questions; 1 asks the questions one by one. Default: 16
            for the suite, 8 for benchmarks.
        max_new_tokens: Maximum length of an answer in tokens. Default: 16 for the suite; each benchmark has its own.
        min_pixels: Smallest area of a picture in pixels. Default: on benchmarks, what lmms-eval sets for the model's
            type; otherwise, what a pruned folder was calibrated with.
        max_pixels: Largest area of a picture in pixels. Default: as for min_pixels.
        dense: Output folder of the dense model's evaluation, from which the retention on each benchmark is computed.
        output: Folder for scores.json and every prediction (answers.parquet; for benchmarks, answers.jsonl for each).
        print_lmms_eval: Print the lmms-eval command that scores the model's folder on the benchmarks, then exit.
    """
    at_least(1, groups=groups)
    settings = EvaluationSettings(
        batch_size, max_new_tokens, min_pixels, max_pixels, quiet_trainer(**(trainer or {})), output
    )
    folder = model_folder(model, trust_remote_code)
    if print_lmms_eval:
        print(lmms_eval_command(folder, chosen_benchmarks(benchmark or ALL)))
        return
    if output is not None:
        writable(output, "output")
    suite = evaluation or (own_data(model) if benchmark is None else None)
    questions = atv.questions(benchmark, data=data, dense=dense, evaluation=suite, split=split, groups=groups)
    loaded_model, processor = atv.load(model, quantized=True, trust_remote_code=trust_remote_code)
    report = evaluate_questions(loaded_model, processor, questions, settings)
    if settings.trainer.is_global_zero:
        Console().print(_tasks_table(report) if report.tasks else _benchmarks_table(report))


def _tasks_table(report: EvaluationReport) -> Table:
    table = Table("task", "score %", "groups", "questions")
    for name, row in sorted(report.tasks.items()):
        table.add_row(name, f"{100 * row.score:.2f}", str(row.groups), str(row.questions))
    average = 100 * sum(row.score for row in report.tasks.values()) / len(report.tasks)
    table.add_row("average", f"{average:.2f}", "", str(sum(row.questions for row in report.tasks.values())))
    return table


def _benchmarks_table(report: EvaluationReport) -> Table:
    retention = report.retention
    table = Table("benchmark", "score", "right", "unread", "version", "parts", *(["retention %"] if retention else []))
    for name, row in report.benchmarks.items():
        part_scores = ", ".join(f"{part} {value:.4g}" for part, value in row["parts"].items())
        score = f"{row['score']:.2f}" + (f" of {row['maximum']:.0f}" if row["maximum"] != 100 else "")
        counts = f"{row['right']:.6g} of {row['of']}"
        cells = [name, score, counts, str(row["unread"]), f"{row['version']} ({row['revision'][:12]})", part_scores]
        table.add_row(*cells, *([_interval(retention.get(name))] if retention else []))
    if retention:
        table.add_row("average", *[""] * 5, _interval(retention["average"]))
    return table


def _interval(retention: dict[str, float] | None) -> str:
    return "{value:.2f} [{low:.2f}, {high:.2f}]".format(**retention) if retention else "dense is 0"
