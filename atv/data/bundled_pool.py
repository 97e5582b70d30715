"""The pool that ships with the package."""

from functools import cached_property

from datasets import Dataset

from atv.bundled.data import POOL_SIZE, calibration_pool
from atv.data.base import Conversation, IndexedData


class Bundled(IndexedData):
    """The 2,048 scenes of the bundled model, each with a caption and a question."""

    @cached_property
    def _rows(self) -> Dataset:
        return calibration_pool()

    def __len__(self) -> int:
        return POOL_SIZE  # Known without drawing all scenes.

    def read(self, index: int) -> Conversation:
        row = self._rows[index]
        return Conversation(f"row {index}", row["conversation"], [row["image"]])
