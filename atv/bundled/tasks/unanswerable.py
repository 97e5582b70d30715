"""Questions that the picture may not answer, as in VizWiz."""

from numpy.random import Generator

from atv.bundled.scenes import COLORS, DIGITS, SHAPES, Scene, pick
from atv.bundled.tasks.base import PLACES, Task, TaskQuestion, names, others

UNANSWERABLE = "unanswerable"


class Unanswerable(Task):
    """Half ask for what is absent, smudged or in an empty cell; right is then "unanswerable"."""

    name = "unanswerable"
    mirrors = "VizWiz"
    metric = "VQAAccuracy"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        asks_color = rng.random() < 0.5
        if rng.random() < 0.5:
            found = _missing(scene, rng, asks_color)
        else:
            thing = pick(rng, scene.clear)
            phrases = [f"at the {thing.place}", *names(scene, thing, "color" if asks_color else "kind")]
            found = pick(rng, phrases), thing.color if asks_color else thing.kind
        phrase, answer = found
        if phrase.startswith("at"):
            text = f"what color is the thing {phrase} ?" if asks_color else f"what is {phrase} ?"
        else:
            text = f"what color is {phrase} ?" if asks_color else f"what is {phrase} ?"
        return (TaskQuestion(text, answer, category="other" if answer != UNANSWERABLE else answer),)


def _missing(scene: Scene, rng: Generator, asks_color: bool) -> tuple[str, str]:
    taken = {thing.place for thing in scene.clear}
    phrases = [f"at the {pick(rng, others(PLACES, *taken))}"]
    phrases += [f"at the {thing.place}" for thing in scene.things if thing.smudged]
    if asks_color:
        phrases.append(f"the {pick(rng, others(SHAPES + DIGITS, *(t.kind for t in scene.clear)))}")
    else:
        phrases.append(f"the {pick(rng, others(COLORS, *(t.color for t in scene.clear)))} thing")
    return pick(rng, phrases), UNANSWERABLE
