"""Folders of answers as ``atv`` writes them, with a made-up model's answers to small sets of questions."""

from datasets import Image

from atv.ablation.cell import Cell
from atv.bundled.data import evaluation_set
from atv.evaluation.answer_tables import write_answers
from atv.evaluation.benchmarks.loaded import load_benchmark
from atv.evaluation.generation import COLUMNS, scored_answers
from atv.evaluation.questions import picture_fields
from atv.evaluation.scores import task_scores
from atv.records.cell_record import CellRecord
from atv.records.evaluation_report import EvaluationReport, TaskRow

HOW = {"max_new_tokens": 8, "chat template": "a digest", "generation config": {"eos_token_id": 2}}


def right(question):
    return question["answer"] or max(set(question["answers"]), key=list(question["answers"]).count)


def mostly(*wrong):
    """A model that is right except for the questions at these places, which it answers with "a fish, a fish, a f"."""

    def say(question, place):
        return "a fish, a fish, a f" if place in wrong else right(question)

    return say


def suite(groups=2):
    """Questions of all nine tasks with their pictures."""
    return evaluation_set("dev", groups).cast_column("image", Image())


def asked_rows(questions):
    return [
        {name: own for name, own in row.items() if name != "image"} | picture_fields(row["image"]) for row in questions
    ]


def answers(rows, say, ended=True):
    return scored_answers((row | {"ended": ended}, say(row, place)) for place, row in enumerate(rows))


def suite_folder(folder, say, questions, evaluation="bundled", **how):
    """Writes a folder like ``atv evaluate``."""
    folder.mkdir(parents=True, exist_ok=True)
    given = answers(asked_rows(questions), say)[list(COLUMNS)]
    given.to_parquet(folder / "answers.parquet", index=False)
    tasks = {name: TaskRow(own.score, own.groups, own.questions) for name, own in task_scores(given).items()}
    asked = {"model": "made-up", "evaluation": str(evaluation), "split": "dev", "asked_with": HOW | how}
    EvaluationReport(asked, tasks=tasks).write(folder)
    return folder


def benchmark_folder(folder, say, data, *names, **how):
    """Writes a folder like ``atv evaluate --benchmark``."""
    rows = {}
    for name in names:
        loaded = load_benchmark(name, data)
        given = answers([each.question for each in loaded.questions], say)
        write_answers(folder / name / "answers.jsonl", given)
        score = {"score": 100 * float(given["credit"].mean()), "of": len(given)}
        rows[name] = score | loaded.provenance() | {"asked_with": HOW | how, "data": str(data)}
    EvaluationReport({"model": "made-up"}, benchmarks=rows).write(folder)
    return folder


def cell_folder(folder, say, questions, labels, seed=0, inputs=None, pathways=True, **record):
    """Writes a cell's folder like ``atv ablate``."""
    folder.mkdir(parents=True)
    given = answers(asked_rows(questions), say)[list(COLUMNS)]
    given.to_parquet(folder / "rows.parquet", index=False)
    config = Cell(labels, seed=seed).config() | {"pathways": {"both": {}} if pathways else {}}
    told = {"asked_with": HOW | {"max_new_tokens": dict.fromkeys(given["task"], 8)}} | record
    given = inputs or {"model": "a model", "questions": "all", "max_new_tokens": "8"}
    CellRecord(folder.name, config, labels, given, **told).write(folder)
    return folder
