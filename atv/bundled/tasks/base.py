"""The definition of a task, for both worlds, and phrases that the bundled tasks share."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.random import Generator

from atv.bundled.scenes import COLORS, COLUMNS, DIGITS, ROWS, SHAPES, Scene, Thing, pick, shuffled

PLACES = tuple(f"{row} {column}" for row in ROWS for column in COLUMNS)
LETTERS = ("A", "B", "C", "D")


@dataclass(frozen=True)
class TaskQuestion:
    """One question about one picture.

    ``answers`` are the answers of ten people, if the metric needs them and they differ.
    """

    text: str
    answer: str
    category: str = ""
    options: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


class Task(ABC):
    """Asks one kind of question, like one of the paper's benchmarks; a group (rotations or a pair) is scored together.

    ``metric`` is the name of a class in ``atv.evaluation.metrics``.
    """

    metric: str

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    @abstractmethod
    def ask(self, scene: Any, rng: Generator) -> tuple[TaskQuestion, ...]:
        """Returns a group of questions about a scene of the task's world; empty if the scene does not allow one."""


def names(scene: Scene, thing: Thing, hide: str = "") -> Iterator[str]:
    """Yields the phrases without a place that identify ``thing`` and nothing else in the scene.

    ``hide`` is what the question asks about ("color", "kind", or "both" of them), so that no phrase reveals it.
    """
    kinds = [clear_thing.kind for clear_thing in scene.clear]
    colors = [clear_thing.color for clear_thing in scene.clear]
    looks = list(zip(colors, kinds, strict=True))
    if kinds.count(thing.kind) == 1 and hide != "kind":
        yield f"the {thing.kind}"
    if colors.count(thing.color) == 1 and hide != "color":
        yield f"the {thing.color} thing"
    if looks.count((thing.color, thing.kind)) == 1 and not hide:
        yield f"the {thing.color} {thing.kind}"


def name(scene: Scene, thing: Thing, rng: Generator, hide: str = "") -> str | None:
    """Returns one of ``names`` at random, or None if only the place identifies the thing."""
    phrases = list(names(scene, thing, hide))
    return pick(rng, phrases) if phrases else None


def reference(scene: Scene, thing: Thing, rng: Generator, hide: str) -> str:
    """Returns a phrase for the thing: by its place or, as often, by the part of its looks that is not hidden.

    If its looks do not identify it, the phrase is by its place.
    """
    by_looks = name(scene, thing, rng, hide) if rng.random() < 0.5 else None
    return by_looks or f"the thing at the {thing.place}"


def others(pool: Sequence[str], *taken: str) -> list[str]:
    """Returns the items of the pool that are not taken."""
    return [item for item in pool if item not in taken]


def choice(
    rng: Generator, text: str, answer: str, pool: Sequence[str], count: int = 4, form: str = " {} {}"
) -> TaskQuestion:
    """Returns a question with at most ``count`` options, the wrong ones from ``pool``; ``form`` formats an option."""
    options = shuffled(rng, [answer, *shuffled(rng, others(pool, answer))[: count - 1]])
    return lettered(text, options, options.index(answer), form)


def rotations(
    rng: Generator, text: str, answer: str, pool: Sequence[str], form: str = " {} {}"
) -> tuple[TaskQuestion, ...]:
    """Returns a question with four options, asked four times with a different option first."""
    options = [answer, *shuffled(rng, others(pool, answer))[:3]]
    return tuple(lettered(text, options[-rotation:] + options[:-rotation], rotation, form) for rotation in range(4))


def lettered(text: str, options: Sequence[str], answer: int, form: str) -> TaskQuestion:
    """Returns the question with its lettered options; the answer is a letter."""
    lettered_options = "".join(form.format(letter, option) for letter, option in zip(LETTERS, options, strict=False))
    return TaskQuestion(text + lettered_options, LETTERS[answer], options=tuple(options))


def paired(claims: tuple[str, str] | None, category: str, rng: Generator) -> tuple[TaskQuestion, ...]:
    """Returns a true and a false claim as two questions, in random order; empty if there are no claims."""
    if claims is None:
        return ()
    pair = [TaskQuestion(text, answer, category) for text, answer in zip(claims, ("yes", "no"), strict=True)]
    return tuple(shuffled(rng, pair))


def absent_look(scene: Scene, rng: Generator) -> tuple[str, str]:
    """Returns a colour and a kind that no thing combines; half the time, different things in the scene have them."""
    kinds, colors = [t.kind for t in scene.clear], [t.color for t in scene.clear]
    shown_looks = set(zip(colors, kinds, strict=True))
    mixed_looks = [(color, kind) for color in colors for kind in kinds if (color, kind) not in shown_looks]
    if mixed_looks and rng.random() < 0.5:
        return pick(rng, mixed_looks)
    return pick(
        rng, [(color, kind) for color in COLORS for kind in SHAPES + DIGITS if (color, kind) not in shown_looks]
    )
