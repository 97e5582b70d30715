"""``atv evaluate``"""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from atv.data.pixels import cap_pixels
from atv.evaluation.generation import answer
from atv.evaluation.questions import question_batches
from atv.evaluation.scores import TaskScore, task_scores
from atv.files import atomic, writable, write_json
from atv.loading import BUNDLED, load_evaluation, load_model, model_folder
from atv.provenance import git_revision, hardware, versions
from atv.trainer import quiet_trainer


def evaluate(
    model: str = BUNDLED,
    evaluation: str = BUNDLED,
    split: str = "test",
    groups: int | None = None,
    batch_size: int = 64,
    max_new_tokens: int = 16,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    output: Path | None = None,
    trainer: dict[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Answer the evaluation suite by greedy decoding and score it, task by task.

    Args:
        model: Folder of an LVLM, pruned or not, hub id (owner/name or owner/name@revision), or "bundled".
        evaluation: Folder of a saved data set with the bundled columns, or "bundled".
        split: Of the bundled suite: dev or test.
        groups: Only the first so many groups of questions of each task (rotations and pairs are one group).
        batch_size: Questions generated at once.
        max_new_tokens: Longest answer.
        min_pixels: Smallest area of a picture; a pruned folder brings those that it was calibrated with.
        max_pixels: Largest area of a picture, likewise.
        output: Folder for scores.json and answers.parquet (every prediction).
        trainer: Options of lightning.Trainer, as --trainer.accelerator gpu.
        trust_remote_code: Whether code that comes with the model may run.
    """
    target = None if output is None else writable(output, "output")
    runner = quiet_trainer(**(trainer or {}))
    folder = model_folder(model, trust_remote_code)
    questions = load_evaluation(evaluation, split)
    lvlm, processor = load_model(folder, trust_remote_code)
    cap_pixels(processor, min_pixels, max_pixels)
    answers = answer(
        lvlm, processor, question_batches(processor, questions, batch_size, groups), max_new_tokens, runner
    )
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
