"""Relations and composition, as in GQA."""

from numpy.random import Generator

from atv.bundled.scenes import pick
from atv.bundled.tasks.base import Task, TaskQuestion
from atv.everyday.scenes import Scene
from atv.everyday.tasks.base import neighbors, unique


class Relations(Task):
    """What stands beside a named thing, on which side of another it stands, or where in the picture."""

    name = "relations"
    mirrors = "GQA"
    metric = "ExactMatch"

    def ask(self, scene: Scene, rng: Generator) -> tuple[TaskQuestion, ...]:
        alone = unique(scene)
        forms = [
            (f"What is {phrase}?", neighbor.name, "neighbor")
            for anchor in alone
            for phrase, neighbor in neighbors(scene, anchor)
            if neighbor.form == "thing"
        ]
        if alone and (not forms or rng.random() < 0.3):
            item = pick(rng, alone)
            return (TaskQuestion(f"Where is the {item.name}?", item.place, category="place"),)
        if len(alone) > 1 and rng.random() < 0.4:
            first, second = (alone[index] for index in rng.permutation(len(alone))[:2])
            if first.row != second.row:
                side, text = ("above" if first.row < second.row else "below"), "above or below"
            else:
                side, text = ("left" if first.column < second.column else "right"), "left or right of"
            return (TaskQuestion(f"Is the {first.name} {text} the {second.name}?", side, category="side"),)
        if not forms:
            return ()
        text, answer, category = pick(rng, forms)
        return (TaskQuestion(text, answer, category=category),)
