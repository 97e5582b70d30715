"""Reading printed words and handwritten digits, as in TextVQA."""

from numpy.random import Generator

from atv.bundled.scenes import pick
from atv.bundled.tasks.base import Task, TaskQuestion
from atv.everyday.scenes import Scene
from atv.everyday.tasks.base import at, neighbors, unique


class Reading(Task):
    """One word or digit, known by its place, by its neighbour, or because it is the only one."""

    name = "reading"
    mirrors = "TextVQA"
    metric = "VQAAccuracy"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        written = [*scene.words, *scene.digits]
        if not written:
            return ()
        item = pick(rng, written)
        kind, alike = ("word", scene.words) if item.form == "word" else ("number", scene.digits)
        forms = [f"What {kind} is {at(item.place)}?"]
        if len(alike) == 1:
            forms.append(f"What {kind} is in the picture?")
        for anchor in unique(scene):
            forms += [f"What {kind} is {phrase}?" for phrase, near in neighbors(scene, anchor) if near is item]
        return (TaskQuestion(pick(rng, forms), item.name, category=kind),)
