"""The pools that are drawn, not read: of the bundled model's world, and of the everyday one's."""

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import ClassVar

from datasets import Dataset

from atv.bundled import data as bundled_world
from atv.data.base import Conversation, IndexedData
from atv.everyday import data as everyday_world


class _Drawn(IndexedData):
    """A world's scenes; how many there are is known without drawing them."""

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
    """All scenes of a pool: drawing them takes seconds, and a process that prunes again needs the same ones."""
    return draw()
