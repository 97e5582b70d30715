"""What calibration is about: conversations with pictures, and where they come from."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atv.data.wording import reason
from atv.plugins import Plugin, describe

# Read only when the conversation is drawn.
Picture = Image.Image | Path | bytes


@dataclass(frozen=True)
class Conversation:
    """One sample: turns as its source has them, and the pictures for the ``<image>`` markers in them, in order.

    A turn is {from: human | gpt, value} (ShareGPT), {role, text} or {role, content} (chat messages). Pictures without
    any marker come first in the first turn. ``fault`` says what kept the source from reading it, if anything did;
    ``part`` which of a mixture's sources it is of, counted from 0.
    """

    id: str
    turns: Sequence[Mapping[str, Any]]
    pictures: Sequence[Picture] = ()
    fault: str | None = None
    part: int | None = None


class CalibrationData(Plugin, ABC):
    """Where calibration samples come from.

    A constructor only keeps its arguments, each as the attribute of its name; data are read when they are first asked
    for.
    """

    option = "calibration"

    @abstractmethod
    def check(self) -> None:
        """Finds the data; called before a model is loaded, so that what is wrong with them is known early.

        Raises:
            ValueError: saying what is wrong.
        """

    @abstractmethod
    def draw(self, seed: int) -> Iterator[Conversation]:
        """All conversations in the order that the seed gives; it is read as far as samples are needed.

        One that cannot be read is yielded with its ``fault``, so that the next can take its place.
        """

    def record(self) -> dict[str, Any]:
        """Class name and arguments, for the report; override it where arguments are not what JSON can hold."""
        return describe(self)

    def origins(self) -> Iterator["CalibrationData"]:
        """What samples come from in the end: itself, or those that it is made of."""
        yield self


class IndexedData(CalibrationData):
    """Data that can be read in any order; the seed permutes them."""

    def check(self) -> None:
        if not len(self):
            raise ValueError("calibration: there is no sample in it")

    @abstractmethod
    def __len__(self) -> int:
        """How many conversations there are."""

    @abstractmethod
    def read(self, index: int) -> Conversation:
        """A conversation by its number, its pictures not decoded yet."""

    def draw(self, seed: int) -> Iterator[Conversation]:
        for index in np.random.default_rng(seed).permutation(len(self)).tolist():
            yield self._read(index)

    def _read(self, index: int) -> Conversation:
        try:
            return self.read(index)
        except Exception as error:  # What a row holds is not ours, and reading it raises accordingly.
            return Conversation(f"row {index}", (), fault=reason(error))
