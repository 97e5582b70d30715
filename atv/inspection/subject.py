"""The sample that is inspected."""

from collections.abc import Mapping
from dataclasses import dataclass
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
    """A conversation about a picture, as tensors: ``picture`` is what the model sees of it, (height, width, 3), and
    ``grid`` tells where its visual tokens lie, if that is known."""

    conversation: list[dict[str, str]]
    inputs: dict[str, Any]
    picture: NDArray
    grid: VisualGrid | None

    @classmethod
    def of(cls, lvlm: LVLM, processor: ProcessorMixin, row: Mapping[str, Any]) -> "Subject":
        """The subject made of a row with the columns image and conversation.

        Raises:
            ValueError: for a row without a picture, or a model whose decoder gets no visual tokens of it.
        """
        if row["image"] is None:
            raise ValueError("sample: it has no picture; choose another")
        turns = row["conversation"]
        inputs = encode(processor, [turns], [row["image"]], prompt=turns[-1]["role"] != "assistant")
        tokens = int(lvlm.visual(inputs).sum())
        if not tokens:
            kind = type(lvlm.model).__name__
            raise ValueError(f"model: no visual token enters the decoder of {kind}, so that no block selects any")
        grid = visual_grid(lvlm.model, inputs, tokens)
        normal = getattr(processor, "image_processor", None)
        mean, std = (getattr(normal, name, None) for name in ("image_mean", "image_std"))
        seen = seen_picture(inputs, grid, mean, std)
        return cls(turns, inputs, np.asarray(decode(row["image"])) if seen is None else seen, grid)


def drawn_row(data: CalibrationData, seed: int, id: str) -> dict[str, Any]:
    """A calibration sample as a row, by its id.

    Raises:
        ValueError: for a sample with several pictures.
    """
    drawn = readable(next(conversation for conversation in data.draw(seed) if short(conversation.id) == id))
    if len(drawn.pictures) > 1:
        raise ValueError(f"sample: {id!r} has {len(drawn.pictures)} pictures; choose one with a single picture")
    turns = [
        {
            "role": message["role"],
            "text": "".join(part.get("text", MARKER) for part in message["content"]),
        }
        for message in messages(drawn.turns, len(drawn.pictures))
    ]
    return {"image": decode(drawn.pictures[0]) if drawn.pictures else None, "conversation": turns}


def own_row(
    image: Path | None, question: str | None, answer: str | None, sample: int | None, samples: int
) -> dict[str, Any] | None:
    """A row made of a picture and what is said about it; None where a calibration sample is meant.

    Raises:
        ValueError: for a picture that cannot be read or has no question, and for options that contradict each other.
    """
    if image is None:
        if question is not None or answer is not None:
            raise ValueError("image: --question and --answer are about a picture; name its file")
        if not 0 <= (sample or 0) < samples:
            raise ValueError(f"sample: expected 0 to {samples - 1} (the calibration samples drawn), got {sample}")
        return None
    if sample is not None:
        raise ValueError(f"sample: give either a picture or a calibration sample, got {str(image)!r} and {sample}")
    if not question:
        raise ValueError(f"question: what is asked about {str(image)!r}?")
    try:
        picture = decode(image)
    except ValueError as error:
        raise ValueError(f"image: cannot read {str(image)!r}: {error}") from error
    turns = [{"role": "user", "text": question}, *([{"role": "assistant", "text": answer}] if answer else [])]
    return {"image": picture, "conversation": turns}
