"""The bundled data sets: a calibration pool, and nine evaluation tasks in two disjoint splits."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import PIL.Image
from datasets import Dataset, Features, Image, Value
from datasets import List as ListOf

from atv.bundled.dialogues import calibration_turns
from atv.bundled.drawing import draw
from atv.bundled.scenes import sample_scene
from atv.bundled.tasks import TASKS, Task, TaskQuestion

POOL_SIZE = 2048
GROUPS_A_TASK = 400
POOL_SEED, EVALUATION_SEED = 11, 12

CALIBRATION_FEATURES = Features(
    {"image": Image(), "conversation": ListOf({"role": Value("string"), "text": Value("string")})}
)
EVALUATION_FEATURES = Features(
    {
        "question_id": Value("string"),
        "group": Value("string"),
        "task": Value("string"),
        "metric": Value("string"),
        "category": Value("string"),
        "image": Image(),
        "question": Value("string"),
        "options": ListOf(Value("string")),
        "answer": Value("string"),
        "answers": ListOf(Value("string")),
    }
)


def calibration_pool(size: int = POOL_SIZE) -> Dataset:
    """Returns the calibration pool: a caption and a question for each scene of the training split.

    The columns are ``image`` and ``conversation``.
    """
    rng = np.random.default_rng(POOL_SEED)
    rows: dict[str, list[Any]] = {"image": [], "conversation": []}
    for _ in range(size):
        scene = sample_scene(rng, "train")
        rows["conversation"].append(calibration_turns(scene, rng))
        rows["image"].append(draw(scene, rng))
    return Dataset.from_dict(rows, features=CALIBRATION_FEATURES)


def evaluation_set(split: Literal["dev", "test"], groups: int = GROUPS_A_TASK) -> Dataset:
    """Returns ``groups`` questions of each task; the rotations of a question, or a pair, count as one.

    Every group is about a different picture. The first groups are the same for every value of ``groups``.

    Raises:
        ValueError: if there is no such split.
    """
    if split not in ("dev", "test"):
        raise ValueError(f"split: expected 'dev' or 'test', got {split!r}")
    rows: dict[str, list[Any]] = {column: [] for column in EVALUATION_FEATURES}
    for task_number, task in enumerate(TASKS):
        rng = np.random.default_rng((EVALUATION_SEED, split == "test", task_number))
        for index in range(groups):
            questions: tuple[TaskQuestion, ...] = ()
            while not questions:
                scene = sample_scene(rng, split)
                questions = task.ask(scene, rng)
            add_group(rows, f"{split}-{task.name}-{index}", task, questions, draw(scene, rng))
    return Dataset.from_dict(rows, features=EVALUATION_FEATURES)


def add_group(
    rows: Mapping[str, list[Any]], group: str, task: Task, asked: Sequence[TaskQuestion], image: PIL.Image.Image
) -> None:
    """Adds a group's questions to the columns of an evaluation set."""
    for question_number, question in enumerate(asked):
        unanimous_answers = [question.answer] * 10 if task.metric == "VQAAccuracy" else []
        row = {
            "question_id": f"{group}-{question_number}",
            "group": group,
            "task": task.name,
            "metric": task.metric,
            "category": question.category,
            "image": image,
            "question": question.text,
            "options": list(question.options),
            "answer": question.answer,
            "answers": list(question.answers) or unanimous_answers,
        }
        for column, value in row.items():
            rows[column].append(value)
