"""The sample that is inspected."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import ProcessorMixin

from atv.data import CalibrationData
from atv.data.calibration_batches import readable
from atv.data.conversations import encode, messages
from atv.data.pictures import decode
from atv.data.turns import MARKER
from atv.data.wording import short
from atv.model.lvlm import LVLM
from atv.model.visual_grid import VisualGrid, seen_picture, visual_grid


@dataclass(frozen=True)
class Subject:
    """A conversation about a picture, as tensors.

    ``picture`` is what the model sees of the picture, (height, width, 3); ``grid`` says where its visual tokens lie, if
    known.
    """

    conversation: list[dict[str, str]]
    inputs: dict[str, Any]
    picture: NDArray
    grid: VisualGrid | None

    @classmethod
    def of(cls, lvlm: LVLM, processor: ProcessorMixin, row: Mapping[str, Any]) -> "Subject":
        """Makes the subject from a row with the columns image and conversation.

        Raises:
            ValueError: if the row has no picture, or the model's decoder receives no visual tokens from it.
        """
        if row["image"] is None:
            raise ValueError("sample: it has no picture; choose another sample")
        turns = row["conversation"]
        inputs = encode(processor, [turns], [row["image"]], prompt=turns[-1]["role"] != "assistant")
        tokens = int(lvlm.visual(inputs).sum())
        if not tokens:
            class_name = type(lvlm.model).__name__
            raise ValueError(f"model: no visual token enters the decoder of {class_name}, so no block selects any")
        grid = visual_grid(lvlm.model, inputs, tokens)
        image_processor = getattr(processor, "image_processor", None)
        mean, std = (getattr(image_processor, name, None) for name in ("image_mean", "image_std"))
        picture = seen_picture(inputs, grid, mean, std)
        return cls(turns, inputs, np.asarray(decode(row["image"])) if picture is None else picture, grid)


def drawn_row(data: CalibrationData, seed: int, ids: list[str], number: int) -> dict[str, Any]:
    """Returns the calibration sample with this number as a row; ``ids`` are those of all samples, and may repeat.

    Raises:
        ValueError: if the sample has several pictures.
    """
    id = ids[number]
    same_id = (conversation for conversation in data.draw(seed) if short(conversation.id) == id)
    sample = readable(next(islice(same_id, ids[:number].count(id), None)))
    if len(sample.pictures) > 1:
        raise ValueError(f"sample: {id!r} has {len(sample.pictures)} pictures; choose one with a single picture")
    turns = [
        {
            "role": message["role"],
            "text": "".join(part.get("text", MARKER) for part in message["content"]),
        }
        for message in messages(sample.turns, len(sample.pictures))
    ]
    return {"image": decode(sample.pictures[0]) if sample.pictures else None, "conversation": turns}


@dataclass(frozen=True)
class Shown:
    """What to inspect: a picture with its question and answer, or a calibration sample by its number.

    Attributes:
        image: File of the picture to inspect. It joins the calibration set as its last sample, so that a budget that
            depends on the whole set is the one that pruning would use.
        question: Question about the picture; required with --image.
        answer: Answer to the question, as in calibration conversations.
        sample: Number of a calibration sample, counted from 0, to inspect instead of your own picture. Default: 0.
    """

    image: Path | None = None
    question: str | None = None
    answer: str | None = None
    sample: int | None = None

    def row(self, samples: int) -> dict[str, Any] | None:
        """Returns the picture and its conversation, or None if one of the ``samples`` that are drawn is meant.

        Raises:
            ValueError: if the picture cannot be read or has no question, or options contradict each other.
        """
        if self.image is None:
            if self.question is not None or self.answer is not None:
                raise ValueError("image: --question and --answer are about a picture; name its file")
            if not 0 <= (self.sample or 0) < samples:
                choices = f"0 to {samples - 1} (the calibration samples drawn)"
                raise ValueError(f"sample: expected {choices}, got {self.sample}")
            return None
        file = repr(str(self.image))
        if self.sample is not None:
            raise ValueError(f"sample: give either a picture or a calibration sample, got {file} and {self.sample}")
        if not self.question:
            raise ValueError(f"question: none is given for {file}; say what to ask about the picture")
        try:
            picture = decode(self.image)
        except ValueError as error:
            raise ValueError(f"image: cannot read {file}: {error}") from error
        answer_turns = [{"role": "assistant", "text": self.answer}] if self.answer else []
        return {"image": picture, "conversation": [{"role": "user", "text": self.question}, *answer_turns]}
