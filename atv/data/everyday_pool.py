"""The pool of the everyday model."""

from functools import cached_property

from datasets import Dataset

from atv.data.base import Conversation, IndexedData
from atv.everyday.data import POOL_SIZE, calibration_pool


class Everyday(IndexedData):
    """2,048 scenes of everyday things, each with a caption and two questions."""

    @cached_property
    def _rows(self) -> Dataset:
        return calibration_pool()

    def __len__(self) -> int:
        return POOL_SIZE  # Known without drawing all scenes.

    def read(self, index: int) -> Conversation:
        row = self._rows[index]
        return Conversation(f"row {index}", row["conversation"], [row["image"]])
