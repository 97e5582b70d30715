"""Reading handwriting, as in TextVQA."""

from numpy.random import Generator

from atv.bundled.scenes import ROWS, Scene, pick
from atv.bundled.tasks.base import Task, TaskQuestion


class Reading(Task):
    """One handwritten digit, named by place or colour, or all digits of a row from left to right."""

    name = "reading"
    mirrors = "TextVQA"
    metric = "VQAAccuracy"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        if not scene.digits:
            return ()
        thing = pick(rng, scene.digits)
        row = [digit.kind for digit in scene.digits if digit.row == thing.row]
        numbers = [digit.color for digit in scene.digits]
        if len(row) > 1 and rng.random() < 0.7:
            text, answer = f"what is written in the {ROWS[thing.row]} row ?", " ".join(row)
        elif numbers.count(thing.color) == 1 and rng.random() < 0.5:
            text, answer = f"what is the {thing.color} number ?", thing.kind
        else:
            text, answer = f"what number is at the {thing.place} ?", thing.kind
        return (TaskQuestion(text, answer),)
