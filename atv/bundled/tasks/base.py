"""What a task is, in either world, and the phrases that bundled tasks share."""

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
    """One question about one picture; ``answers`` are ten people's, where the score wants them and they differ."""

    text: str
    answer: str
    category: str = ""
    options: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


class Task(ABC):
    """Asks one kind of question, as one of the paper's benchmarks does; a group (rotations, a pair) is scored together.

    ``metric`` names the class of ``atv.evaluation.metrics``.
    """

    metric: str

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    @abstractmethod
    def ask(self, scene: Any, rng: Generator) -> tuple[TaskQuestion, ...]:
        """A group of questions about a scene of the task's world; empty where the scene does not allow one."""


def names(scene: Scene, thing: Thing, hide: str = "") -> Iterator[str]:
    """The phrases without a place that mean ``thing`` and nothing else in the scene.

    ``hide`` is what the question asks about ("color", "kind", or "both" of them), so that no phrase gives it away.
    """
    kinds = [other.kind for other in scene.clear]
    colors = [other.color for other in scene.clear]
    looks = list(zip(colors, kinds, strict=True))
    if kinds.count(thing.kind) == 1 and hide != "kind":
        yield f"the {thing.kind}"
    if colors.count(thing.color) == 1 and hide != "color":
        yield f"the {thing.color} thing"
    if looks.count((thing.color, thing.kind)) == 1 and not hide:
        yield f"the {thing.color} {thing.kind}"


def name(scene: Scene, thing: Thing, rng: Generator, hide: str = "") -> str | None:
    """One of ``names`` at random, or None where nothing but the place tells the thing apart."""
    phrases = list(names(scene, thing, hide))
    return pick(rng, phrases) if phrases else None


def reference(scene: Scene, thing: Thing, rng: Generator, hide: str) -> str:
    """The thing by its place or, as often, by what is not hidden of its looks."""
    by_looks = name(scene, thing, rng, hide) if rng.random() < 0.5 else None
    return by_looks or f"the thing at the {thing.place}"


def others(pool: Sequence[str], *taken: str) -> list[str]:
    """The pool without what is taken."""
    return [item for item in pool if item not in taken]


def choice(
    rng: Generator, text: str, answer: str, pool: Sequence[str], count: int = 4, form: str = " {} {}"
) -> TaskQuestion:
    """A question of ``count`` options at most, its wrong ones out of ``pool``; ``form`` is how an option is written."""
    options = shuffled(rng, [answer, *shuffled(rng, others(pool, answer))[: count - 1]])
    return lettered(text, options, options.index(answer), form)


def rotations(
    rng: Generator, text: str, answer: str, pool: Sequence[str], form: str = " {} {}"
) -> tuple[TaskQuestion, ...]:
    """A question of four options, asked with each of them first."""
    options = [answer, *shuffled(rng, others(pool, answer))[:3]]
    return tuple(lettered(text, options[-turn:] + options[:-turn], turn, form) for turn in range(4))


def lettered(text: str, options: Sequence[str], right: int, form: str) -> TaskQuestion:
    """The question with its options behind their letters; the answer is a letter."""
    listed = "".join(form.format(letter, option) for letter, option in zip(LETTERS, options, strict=False))
    return TaskQuestion(text + listed, LETTERS[right], options=tuple(options))


def paired(claims: tuple[str, str] | None, category: str, rng: Generator) -> tuple[TaskQuestion, ...]:
    """A true and a false claim as two questions, in random order; none where there are no claims."""
    if claims is None:
        return ()
    pair = [TaskQuestion(text, answer, category) for text, answer in zip(claims, ("yes", "no"), strict=True)]
    return tuple(shuffled(rng, pair))


def absent_look(scene: Scene, rng: Generator) -> tuple[str, str]:
    """A colour and kind that no thing has together; half the time both are seen, on different things."""
    kinds, colors = [t.kind for t in scene.clear], [t.color for t in scene.clear]
    seen = set(zip(colors, kinds, strict=True))
    mixed = [(color, kind) for color in colors for kind in kinds if (color, kind) not in seen]
    if mixed and rng.random() < 0.5:
        return pick(rng, mixed)
    return pick(rng, [(color, kind) for color in COLORS for kind in SHAPES + DIGITS if (color, kind) not in seen])
