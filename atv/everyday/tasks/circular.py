"""Circular multiple choice, as in MMBench."""

from numpy.random import Generator

from atv.bundled.scenes import pick
from atv.bundled.tasks.base import Task, TaskQuestion, rotations
from atv.everyday.scenes import PLACES, Scene
from atv.everyday.tasks.base import LISTED, at, unique, wrong_names


class Circular(Task):
    """Four options in all four rotations; a question counts only if every rotation is right."""

    name = "circular"
    mirrors = "MMBench"
    metric = "CircularChoice"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        if not scene.things:
            return ()
        item = pick(rng, scene.things)
        text, answer, wrong = f"What is {at(item.place)}?", item.name, wrong_names(scene, rng, item)
        if item in unique(scene) and rng.random() < 0.4:
            text, answer, wrong = f"Where is the {item.name}?", item.place, list(PLACES)
        return rotations(rng, text, answer, list(dict.fromkeys(wrong)), LISTED)
