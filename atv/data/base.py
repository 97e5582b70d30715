"""Conversations with pictures, and the base classes of the sources that calibration samples come from."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atv.data.wording import reason
from atv.plugins import Plugin, describe

# A path or bytes are read only when the conversation is drawn.
Picture = Image.Image | Path | bytes


@dataclass(frozen=True)
class Conversation:
    """One sample: the turns as its source stores them, and the pictures for their ``<image>`` markers, in order.

    A turn is {from: human | gpt, value} (ShareGPT), {role, text} or {role, content} (chat messages). If no turn has a
    marker, the pictures start the first user turn. ``fault`` says why the source could not read the sample, if so.
    ``part`` is the index of the mixture's source that the sample comes from, counted from 0.
    """

    id: str
    turns: Sequence[Mapping[str, Any]]
    pictures: Sequence[Picture] = ()
    fault: str | None = None
    part: int | None = None


class CalibrationData(Plugin, ABC):
    """A source of calibration samples.

    A constructor only stores its arguments, each in an attribute of the same name; the data are read on first use.
    """

    option = "calibration"

    @abstractmethod
    def check(self) -> None:
        """Finds the data; called before a model is loaded, so that errors appear early.

        Raises:
            ValueError: if the data cannot be used; the message says why.
        """

    @abstractmethod
    def draw(self, seed: int) -> Iterator[Conversation]:
        """Yields all conversations in the order of the seed; the caller reads only as many as it needs.

        A conversation that cannot be read is yielded with its ``fault``, so that the next one can take its place.
        """

    def record(self) -> dict[str, Any]:
        """Returns the class name and the arguments for the report; override it if JSON cannot hold an argument."""
        return describe(self)

    def origins(self) -> Iterator["CalibrationData"]:
        """Yields the sources that the samples ultimately come from: this source, or those that it is made of."""
        yield self


class IndexedData(CalibrationData):
    """A source whose conversations can be read in any order; the seed permutes them."""

    def check(self) -> None:
        if not len(self):
            raise ValueError("calibration: the data hold no samples")

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of conversations."""

    @abstractmethod
    def read(self, index: int) -> Conversation:
        """Returns the conversation with this index, its pictures not yet decoded."""

    def draw(self, seed: int) -> Iterator[Conversation]:
        for index in np.random.default_rng(seed).permutation(len(self)).tolist():
            yield self._read(index)

    def _read(self, index: int) -> Conversation:
        try:
            return self.read(index)
        except Exception as error:  # A row may hold anything, so reading it can raise anything.
            return Conversation(f"row {index}", (), fault=reason(error))
