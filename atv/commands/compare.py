"""``atv compare``"""

from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

import atv
from atv.ablation.named_cells import models_of
from atv.comparison.compared import Compared, Comparison
from atv.comparison.outcome import PAGE, count, difference, share
from atv.statistics.paired_scores import written_p

_COMPARISON_HEADER = ("difference [95%]", "p (Holm)", "lost/\ngained", "same %")


def compare(
    folders: list[str],
    benchmark: list[str] | str | None = None,
    data: Path | None = None,
    evaluation: str | None = None,
    split: str | None = None,
    groups: int | None = None,
    flips: int = 100,
    output: Path | None = None,
    plugin: list[Path] | Path | None = None,
) -> None:
    """Compare models with the first one, question by question, by their answers to the same questions.

    Shows the difference in scores with its interval and p-value, how many answers got worse, got better or stayed the
    same, and how many did not end or only repeat themselves. No model is run and nothing is downloaded. Models that
    were asked different questions, or in a different way, are rejected with an error that says what differs.

    Args:
        folders: Answers to compare, those of the first model first: output folders of atv evaluate; an ablation's
            results (results/NAME for all its methods, "results/NAME/METHOD" for one method with its seeds, where METHOD
            is the name in the cell's line); single cells (results/cells/ID); JSONL files of other engines; or folders
            of samples that lmms-eval logged. Folders separated by commas are the seeds of one model.
        benchmark: Benchmarks to compare on. Default: all that the folders have answers to.
        data: Folder with a local copy of the benchmarks' data, for pictures and for lmms-eval's samples. Default: the
            data that the first folder was asked, if they are still there.
        evaluation: Suite that was asked: "bundled", "everyday", or the folder of a saved data set. It supplies the
            pictures, and the questions of JSONL files without a folder of atv. Default: as recorded in the first
            folder.
        groups: Number of groups of questions that were asked of each task or benchmark. Default: as recorded in the
            first folder.
        flips: Maximum number of questions on the page. These are questions that a model answers better or worse than
            the first model.
        output: Folder for comparison.json, differences.png, answers.png (a few pictures with each model's answers) and
            comparison.html, which shows flipped answers with their pictures. Default: nothing is written.
    """
    comparison = atv.compare(
        *models_of(folders),
        benchmark=benchmark,
        data=data,
        evaluation=evaluation,
        split=split,
        groups=groups,
        flips=flips,
        output=output,
    )
    console = Console()
    tables = [_tasks_table(comparison, model.name) for model in comparison.models[1:]]
    for table in (_models_table(comparison), _fluency_table(comparison), *tables):
        console.print(table, end="\n\n")
    for name in comparison.unrecorded:
        note = f"how {name} was asked is not recorded: prompts, pictures and length of answers may differ"
        console.print(note, soft_wrap=True, markup=False, highlight=False)
    if output is not None:
        console.print(f"flipped answers are in {output / PAGE}", soft_wrap=True, markup=False, highlight=False)


def _models_table(comparison: Comparison) -> Table:
    first_model, averages = comparison.models[0], comparison.of_kind("averages")
    table = _narrow_table("model", "score %", *_COMPARISON_HEADER)
    _add_row(table, first_model.name, f"{averages[0].first:.2f}")
    for row in averages:
        _add_row(table, row.model, f"{row.second:.2f}", *_comparison_cells(row))
    return table


def _fluency_table(comparison: Comparison) -> Table:
    table = _narrow_table("model", "did not end %", "only repeats %")
    for model, fluency in comparison.fluency.items():
        _add_row(table, model, share(fluency.unended), share(fluency.repeating))
    return table


def _tasks_table(comparison: Comparison, model: str) -> Table:
    table = _narrow_table("task", "first %", "this %", *_COMPARISON_HEADER)
    table.title = Text(model)
    for row in comparison.of_kind("tasks"):
        if row.model == model:
            _add_row(table, row.task, f"{row.first:.2f}", f"{row.second:.2f}", *_comparison_cells(row))
    return table


def _narrow_table(first_heading: str, *headings: str) -> Table:
    """Makes a table that fits a terminal of 80 columns: long names wrap, numbers do not."""
    table = Table(Column(first_heading, overflow="fold"), box=None, title_justify="left", padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="right")
    return table


def _add_row(table: Table, *cells: str) -> None:
    """Adds a row of plain text, so that rich does not read names of models and tasks as markup."""
    table.add_row(*map(Text, cells))


def _comparison_cells(row: Compared) -> list[str]:
    flip_counts = f"{count(row.flips.lost)}/{count(row.flips.gained)}"
    return [difference(row.effect), written_p(row.corrected), flip_counts, share(row.flips.agreement)]
