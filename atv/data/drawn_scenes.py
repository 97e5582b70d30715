"""Scenes that are drawn, not read: each model's calibration pool, and scenes with one kind of text each."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from datasets import Dataset
from numpy.random import Generator
from PIL import Image

from atv.bundled import data as bundled_world
from atv.bundled import dialogues as bundled_dialogues
from atv.bundled.drawing import draw as draw_bundled
from atv.bundled.scenes import pick, shuffled
from atv.bundled.scenes import sample_scene as sample_bundled
from atv.bundled.tasks import TASKS as BUNDLED_TASKS
from atv.data.base import Conversation, IndexedData
from atv.everyday import data as everyday_world
from atv.everyday import dialogues as everyday_dialogues
from atv.everyday.drawing import draw as draw_everyday
from atv.everyday.scenes import sample_scene as sample_everyday
from atv.everyday.tasks import TASKS as EVERYDAY_TASKS

SceneText = Literal["captions", "questions", "answers", "facts"]
Turns = Sequence[Any]
SIZE = 2048
FACTS = 4


class _ToldScenes(IndexedData):
    """Common base of both worlds: scenes of the training split that are the same whatever is said about them.

    Args:
        said: the text of a sample: captions; questions (without answers); answers (the same questions with their
            answers); or facts (four of them, without a picture).
        tasks: names of the tasks that ask questions. Default: all nine.
    """

    # The world's tasks, which have the same names in both worlds.
    tasks_there: ClassVar[Sequence[Any]]
    seed: ClassVar[int]
    # Samples a scene of a split, and draws its picture.
    sample_scene: ClassVar[Callable[..., Any]]
    draw_picture: ClassVar[Callable[..., Image.Image]]

    def __init__(self, said: SceneText, tasks: list[str] | None = None) -> None:
        self.said, self.tasks = said, tasks

    @abstractmethod
    def _caption(self, scene: Any, rng: Generator) -> Turns:
        """Returns a request for a caption, and the caption."""

    @abstractmethod
    def _facts(self, rng: Generator) -> Turns:
        """Returns ``FACTS`` questions and answers without a picture."""

    def check(self) -> None:
        """
        Raises:
            ValueError: if ``said`` or a task is unknown.
        """
        if self.said not in get_args(SceneText):
            raise ValueError(f"calibration.said: expected one of {', '.join(get_args(SceneText))}, got {self.said!r}")
        names = [task.name for task in self.tasks_there]
        if self.tasks is not None and (not self.tasks or set(self.tasks) - set(names)):
            raise ValueError(f"calibration.tasks: expected some of {', '.join(names)}, got {self.tasks}")

    def __len__(self) -> int:
        return SIZE

    def read(self, index: int) -> Conversation:
        scene_rng, picture_rng, text_rng = np.random.default_rng((self.seed, index)).spawn(3)
        if self.said == "facts":
            return Conversation(f"scene {index}", self._facts(text_rng))
        while True:
            scene = type(self).sample_scene(scene_rng, "train")
            # A scene that allows no question of these tasks is replaced.
            if turns := self._turns(scene, text_rng):
                return Conversation(f"scene {index}", turns, [type(self).draw_picture(scene, picture_rng)])

    def _turns(self, scene: Any, rng: Generator) -> Turns:
        """Returns what is said about the scene; empty if it allows no question of the tasks."""
        if self.said == "captions":
            return self._caption(scene, rng)
        allowed_tasks = [task for task in self.tasks_there if self.tasks is None or task.name in self.tasks]
        for task in shuffled(rng, allowed_tasks):
            if questions := task.ask(scene, rng):
                question = pick(rng, questions)
                turns = bundled_dialogues.exchange(question.text, question.answer)
                return turns if self.said == "answers" else turns[:1]
        return []


class BundledScenes(_ToldScenes):
    """Scenes of the bundled model's training with one kind of text, the same scenes whatever the text."""

    tasks_there, seed = BUNDLED_TASKS, 13
    sample_scene, draw_picture = sample_bundled, draw_bundled

    def _caption(self, scene: Any, rng: Generator) -> Turns:
        return bundled_dialogues.exchange("describe the picture .", bundled_dialogues.caption(scene, rng))

    def _facts(self, rng: Generator) -> Turns:
        return bundled_dialogues.fact_turns(rng, FACTS)


class EverydayScenes(_ToldScenes):
    """Scenes of the everyday model's training with one kind of text, the same scenes whatever the text."""

    tasks_there, seed = EVERYDAY_TASKS, 23
    sample_scene, draw_picture = sample_everyday, draw_everyday

    def _caption(self, scene: Any, rng: Generator) -> Turns:
        return everyday_dialogues.caption_turns(scene, rng)

    def _facts(self, rng: Generator) -> Turns:
        return [turn for _ in range(FACTS) for turn in everyday_dialogues.fact_turns(rng)]


class _Drawn(IndexedData):
    """A world's scenes; their number is known without drawing them."""

    world: ClassVar[ModuleType]

    def __len__(self) -> int:
        return int(self.world.POOL_SIZE)

    def read(self, index: int) -> Conversation:
        row = _rows(self.world.calibration_pool)[index]
        return Conversation(f"row {index}", row["conversation"], [row["image"]])


class Bundled(_Drawn):
    """The 2,048 scenes of the bundled model, each with a caption and a question."""

    world: ClassVar[ModuleType] = bundled_world


class Everyday(_Drawn):
    """2,048 scenes of everyday things, each with a caption and two questions."""

    world: ClassVar[ModuleType] = everyday_world


@cache
def _rows(draw: Callable[[], Dataset]) -> Dataset:
    """Returns all scenes of a pool; cached, since drawing takes seconds and the next pruning needs the same ones."""
    return draw()
