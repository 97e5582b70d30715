"""``atv evaluate``"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from atv.bundled import BUNDLED
from atv.commands.evaluate_benchmarks import evaluate_benchmarks
from atv.data.pixel_cap import cap_pixels
from atv.data.sources import load_evaluation
from atv.evaluation.benchmarks import NINE
from atv.evaluation.benchmarks.dense_answers import dense_answers
from atv.evaluation.benchmarks.loaded import chosen_benchmarks, load_all
from atv.evaluation.generation import answer
from atv.evaluation.lmms_eval import lmms_eval_command
from atv.evaluation.picture_size import pin_pixels
from atv.evaluation.questions import BATCH_SIZE, question_batches
from atv.evaluation.scores import TaskScore, task_scores
from atv.model.loading import load_model, model_folder
from atv.records.files import atomic, writable, write_json
from atv.records.provenance import git_revision, hardware, versions
from atv.runtime.trainer import quiet_trainer


def evaluate(
    model: str = BUNDLED,
    benchmark: list[str] | str | None = None,
    data: Path | None = None,
    limit: int | None = None,
    dense: Path | None = None,
    evaluation: str = BUNDLED,
    split: str = "test",
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
    """Answer benchmarks, or the bundled suite, by greedy decoding, and score them.

    Predictions on benchmarks are kept in the output folder as they are made: the same command goes on where it was
    killed.

    Args:
        model: Folder of an LVLM, pruned or not, hub id (owner/name or owner/name@revision), "bundled" or "everyday".
        benchmark: Names with commas between them, or a list: OKVQA, VizWiz, TextVQA, GQA, POPE, ScienceQA, MMBench,
            MME, MMMU, a plug-in's, or "all" for the nine. Default: the bundled suite.
        data: Folder with a local copy of the benchmark's data set (parquet files laid out as on the hub, or saved to
            disk), or with a folder for each benchmark. Default: downloaded from the hub.
        limit: Only the first so many questions of each benchmark (rotations and pairs are one).
        dense: Output folder of the dense model's evaluation, for the retention of each benchmark.
        evaluation: Folder of a saved data set with the bundled columns, or "bundled".
        split: Of the bundled suite: dev or test.
        groups: Only the first so many groups of questions of each task of the suite (rotations and pairs are one).
        batch_size: Questions generated at once. Default: 16 for the suite, 8 for benchmarks.
        max_new_tokens: Longest answer. Default: 16 for the suite, each benchmark's own.
        min_pixels: Smallest area of a picture. Default: on benchmarks what lmms-eval sets for the model's type, else
            what a pruned folder was calibrated with.
        max_pixels: Largest area of a picture, likewise.
        output: Folder for scores.json and every prediction (answers.parquet; answers.jsonl by benchmark).
        print_lmms_eval: Only print the lmms-eval command that scores the folder.
        plugin: Python file, or list of files, with benchmarks of your own, imported first.
        trainer: Options of lightning.Trainer, as --trainer.accelerator gpu.
        trust_remote_code: Whether code that comes with the model may run.
    """
    benchmarks = [] if benchmark is None else chosen_benchmarks(benchmark)
    if print_lmms_eval:
        print(lmms_eval_command(model_folder(model, trust_remote_code), benchmarks or [kind() for kind in NINE]))
        return
    if not benchmarks and (data, limit, dense) != (None, None, None):
        raise ValueError("data, limit and dense are of benchmarks: name one with --benchmark")
    target = None if output is None else writable(output, "output")
    runner = quiet_trainer(**(trainer or {}))
    folder = model_folder(model, trust_remote_code)
    if benchmarks:
        loaded = load_all(benchmarks, data, limit)
        before = None if dense is None else dense_answers(dense, loaded)
        origin = {"model": str(model), "data": None if data is None else str(data), "limit": limit}
        lvlm, processor = load_model(folder, trust_remote_code)
        pixels: Mapping[str, int | None] | None = {"min_pixels": min_pixels, "max_pixels": max_pixels}
        if min_pixels is None and max_pixels is None:
            pixels = pin_pixels(processor, lvlm.config.model_type)
        else:
            cap_pixels(processor, min_pixels, max_pixels)
        options = (batch_size or 8, max_new_tokens, before, origin | {"pixels": pixels})
        evaluate_benchmarks(loaded, lvlm, processor, runner, target, *options)
        return
    questions = load_evaluation(evaluation, split)
    lvlm, processor = load_model(folder, trust_remote_code)
    cap_pixels(processor, min_pixels, max_pixels)
    batches = question_batches(processor, questions, batch_size or BATCH_SIZE, groups)
    answers = answer(lvlm, processor, batches, max_new_tokens or 16, runner)
    if not runner.is_global_zero:
        return
    scores = task_scores(answers)
    _show(scores)
    if target is not None:
        with atomic(target / "answers.parquet") as path:
            answers.to_parquet(path, index=False)
        tasks = {name: {"score": s.score, "groups": s.groups, "questions": s.questions} for name, s in scores.items()}
        origin = {"model": str(model), "evaluation": evaluation, "split": split}
        made = {"versions": versions(), "git": git_revision(), "hardware": hardware()}
        write_json(target / "scores.json", {"schema": 1, "tasks": tasks} | origin | made)


def _show(scores: dict[str, TaskScore]) -> None:
    table = Table("task", "score %", "groups", "questions")
    for name, score in sorted(scores.items()):
        table.add_row(name, f"{100 * score.score:.2f}", str(score.groups), str(score.questions))
    average = 100 * sum(score.score for score in scores.values()) / len(scores)
    table.add_row("average", f"{average:.2f}", "", str(sum(score.questions for score in scores.values())))
    Console().print(table)
