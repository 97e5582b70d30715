"""The everyday data sets: a calibration pool, and nine evaluation tasks in three disjoint splits."""

from collections import Counter
from functools import cache
from typing import Any, Literal

import numpy as np
from datasets import Dataset

from atv.bundled.data import CALIBRATION_FEATURES, EVALUATION_FEATURES, add_group
from atv.everyday.dialogues import calibration_turns
from atv.everyday.drawing import draw
from atv.everyday.scenes import Scene, Split, sample_scene
from atv.everyday.tasks import TASKS, Task, TaskQuestion

POOL_SIZE = 2048
GROUPS_A_TASK = 400
POOL_SEED, EVALUATION_SEED = 21, 22
SPLITS = ("dev", "test", "unseen")


def calibration_pool(size: int = POOL_SIZE) -> Dataset:
    """Returns the calibration pool: a caption and two questions for each scene of the training split.

    The columns are ``image`` and ``conversation``.
    """
    rng = np.random.default_rng(POOL_SEED)
    rows: dict[str, list[Any]] = {"image": [], "conversation": []}
    for _ in range(size):
        scene = sample_scene(rng, "train")
        rows["conversation"].append(calibration_turns(scene, rng))
        rows["image"].append(draw(scene, rng))
    return Dataset.from_dict(rows, features=CALIBRATION_FEATURES)


def evaluation_set(split: Literal["dev", "test", "unseen"], groups: int = GROUPS_A_TASK) -> Dataset:
    """Returns ``groups`` questions of each task; the rotations of a question, or a pair, count as one.

    Most pictures have five or more of them. The id of every question contains the number of its picture:
    "test-17-presence-0" is the first question of ``presence`` about picture 17. The first groups are the same for every
    value of ``groups``.

    Raises:
        ValueError: if there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    rows: dict[str, list[Any]] = {column: [] for column in EVALUATION_FEATURES}
    group_counts: Counter[str] = Counter()
    for picture_number, (scene, look_seed, task_groups) in enumerate(_plan(split)):
        needed_groups = [(task, group) for task, group in task_groups if group_counts[task.name] < groups]
        if not needed_groups:
            continue
        image = draw(scene, np.random.default_rng(look_seed))
        for task, group in needed_groups:
            group_counts[task.name] += 1
            add_group(rows, f"{split}-{picture_number}-{task.name}", task, group, image)
    return Dataset.from_dict(rows, features=EVALUATION_FEATURES)


@cache
def _plan(split: Split) -> list[tuple[Scene, int, list[tuple[Task, tuple[TaskQuestion, ...]]]]]:
    """Plans the whole set without drawing it: each picture's scene, the seed of its look, and its groups of questions.

    Every task that still needs questions asks about every picture that allows it.
    """
    rng = np.random.default_rng((EVALUATION_SEED, SPLITS.index(split)))
    plan: list[tuple[Scene, int, list[tuple[Task, tuple[TaskQuestion, ...]]]]] = []
    group_counts: Counter[str] = Counter()
    while open_tasks := [task for task in TASKS if group_counts[task.name] < GROUPS_A_TASK]:
        scene = sample_scene(rng, split)
        task_groups = [(task, group) for task in open_tasks if (group := task.ask(scene, rng))]
        if len(task_groups) >= min(5, len(open_tasks)):
            plan.append((scene, int(rng.integers(2**32)), task_groups))
            group_counts.update(task.name for task, _ in task_groups)
    return plan
