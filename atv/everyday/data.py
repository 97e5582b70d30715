"""The everyday data sets: a calibration pool, and nine evaluation tasks in three disjoint splits."""

from collections import Counter
from typing import Any, Literal

import numpy as np
from datasets import Dataset

from atv.bundled.data import CALIBRATION_FEATURES, EVALUATION_FEATURES
from atv.everyday.dialogues import calibration_turns
from atv.everyday.drawing import draw
from atv.everyday.scenes import sample_scene
from atv.everyday.tasks import TASKS, Question, Task

POOL_SIZE = 2048
GROUPS_A_TASK = 400
POOL_SEED, EVALUATION_SEED = 21, 22
SPLITS = ("dev", "test", "unseen")


def calibration_pool(size: int = POOL_SIZE) -> Dataset:
    """Captions with two questions, of scenes of the training split: columns image, conversation."""
    rng = np.random.default_rng(POOL_SEED)
    rows: dict[str, list[Any]] = {"image": [], "conversation": []}
    for _ in range(size):
        scene = sample_scene(rng, "train")
        rows["conversation"].append(calibration_turns(scene, rng))
        rows["image"].append(draw(scene, rng))
    return Dataset.from_dict(rows, features=CALIBRATION_FEATURES)


def evaluation_set(split: Literal["dev", "test", "unseen"], groups: int = GROUPS_A_TASK) -> Dataset:
    """``groups`` questions of each task (rotations and pairs count once), five or more of them about each picture.

    A picture is asked by every task that it allows and that has not asked enough; all of its questions carry its number
    in their ids: "test-17-presence-0" is the first question of ``presence`` about picture 17.

    Raises:
        ValueError: for another split.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    rng = np.random.default_rng((EVALUATION_SEED, SPLITS.index(split)))
    rows: dict[str, list[Any]] = {column: [] for column in EVALUATION_FEATURES}
    asked: Counter[str] = Counter()
    number = 0
    while min(asked[task.name] for task in TASKS) < groups:
        scene = sample_scene(rng, split)
        open_tasks = [task for task in TASKS if asked[task.name] < groups]
        found = [(task, group) for task in open_tasks if (group := task.ask(scene, rng))]
        if len(found) < min(5, len(open_tasks)):
            continue
        image = draw(scene, rng)
        for task, group in found:
            asked[task.name] += 1
            for row in _rows(f"{split}-{number}", task, group):
                for column, value in ({"image": image} | row).items():
                    rows[column].append(value)
        number += 1
    return Dataset.from_dict(rows, features=EVALUATION_FEATURES)


def _rows(picture: str, task: Task, group: tuple[Question, ...]) -> list[dict[str, Any]]:
    return [
        {
            "question_id": f"{picture}-{task.name}-{turn}",
            "group": f"{picture}-{task.name}",
            "task": task.name,
            "metric": task.metric,
            "category": question.category,
            "question": question.text,
            "options": list(question.options),
            "answer": question.answer,
            "answers": [question.answer] * 10 if task.metric == "VQAAccuracy" else [],
        }
        for turn, question in enumerate(group)
    ]
