"""Circular multiple choice, as in MMBench."""

from numpy.random import Generator

from atv.bundled.scenes import COLORS, DIGITS, SHAPES, Scene, pick
from atv.bundled.tasks.base import PLACES, Task, TaskQuestion, name, rotations


class Circular(Task):
    """Four options in all four rotations; a question counts only if every rotation is right."""

    name = "circular"
    mirrors = "MMBench"
    metric = "CircularChoice"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        thing = pick(rng, scene.clear)
        own_name = name(scene, thing, rng)
        forms = [
            (f"what color is the thing at the {thing.place} ?", thing.color, COLORS),
            (f"what is at the {thing.place} ?", thing.kind, DIGITS if thing.is_digit else SHAPES),
        ]
        if own_name:
            forms.append((f"where is {own_name} ?", thing.place, PLACES))
        if scene.clear == scene.things:
            forms.append(("how many things are there ?", str(len(scene.things)), DIGITS[1:6]))
        text, answer, pool = pick(rng, forms)
        return rotations(rng, text, answer, pool)
