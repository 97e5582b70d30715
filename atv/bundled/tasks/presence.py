"""Yes/no presence with balanced negatives, as in POPE."""

from numpy.random import Generator

from atv.bundled.scenes import COLORS, DIGITS, SHAPES, Scene, pick
from atv.bundled.tasks.base import Task, TaskQuestion, absent_look, others


class Presence(Task):
    """ "is there a red star ?": half are absent, and half of those mix what is seen on different things."""

    name = "presence"
    mirrors = "POPE"
    metric = "YesNo"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        if scene.clear != scene.things:
            return ()
        form = pick(rng, ("look", "look", "kind", "color"))
        if rng.random() < 0.5:
            thing = pick(rng, scene.things)
            color, kind, answer = thing.color, thing.kind, "yes"
        else:
            color, kind = absent_look(scene, rng)
            if form != "look":
                color = pick(rng, others(COLORS, *(t.color for t in scene.things)))
                kind = pick(rng, others(SHAPES + DIGITS, *(t.kind for t in scene.things)))
            answer = "no"
        claim = {"look": f"{color} {kind}", "kind": kind, "color": f"{color} thing"}[form]
        return (TaskQuestion(f"is there a {claim} ?", answer, category=form),)
