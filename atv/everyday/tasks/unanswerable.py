"""Questions that the picture may not answer, as in VizWiz."""

from numpy.random import Generator

from atv.bundled.scenes import pick
from atv.bundled.tasks.base import Task, TaskQuestion
from atv.everyday.scenes import Scene
from atv.everyday.tasks.base import STEPS, absent_thing, at, empty_places, neighbors, unique

UNANSWERABLE = "unanswerable"


class Unanswerable(Task):
    """Half ask for what is absent, blurred or in an empty area; right is then "unanswerable"."""

    name = "unanswerable"
    mirrors = "VizWiz"
    metric = "VQAAccuracy"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        if rng.random() < 0.5:
            return (TaskQuestion(_missing(scene, rng), UNANSWERABLE, category=UNANSWERABLE),)
        item = pick(rng, scene.clear)
        asked = {"thing": "What is", "word": "What word is", "digit": "What number is"}[item.form]
        found = [(f"{asked} {at(item.place)}?", item.name)]
        found += [
            (f"What is {phrase}?", neighbor.name)
            for anchor in unique(scene)
            for phrase, neighbor in neighbors(scene, anchor)
            if neighbor.form == "thing"
        ]
        text, answer = pick(rng, found)
        return (TaskQuestion(text, answer, category="other"),)


def _missing(scene: Scene, rng: Generator) -> str:
    asked = pick(rng, ("What is", "What is", "What word is", "What number is"))
    forms = [f"{asked} {at(pick(rng, empty_places(scene)))}?"]
    forms += [f"{asked} {at(item.place)}?" for item in scene.items if item.blurred]
    forms.append(f"What is {pick(rng, tuple(STEPS))} the {absent_thing(scene, rng).name}?")
    forms.append(f"Where is the {absent_thing(scene, rng).name}?")
    return pick(rng, forms)
