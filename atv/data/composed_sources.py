"""Sources made of other sources: a mixture of several, or the text of one without its pictures."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from atv.data.base import CalibrationData, Conversation
from atv.data.turns import message, turns_of
from atv.data.wording import reason


class Mixture(CalibrationData):
    """A mixture of several sources, each with its share of the samples.

    The sources take turns: the next sample comes from the source that is farthest behind its share; in a tie, from the
    first of these. Each source has its own seed, derived from the run's seed and its position, so nothing depends on
    ranks.

    Args:
        sources: calibration data of any kinds.
        weights: one per source, in any unit: 3 and 1 mean three samples to one. Default: equal weights.
    """

    def __init__(self, sources: list[CalibrationData], weights: list[float] | None = None) -> None:
        self.sources = sources
        self.weights = [1.0] * len(sources) if weights is None else weights

    def check(self) -> None:
        """
        Raises:
            ValueError: if there is no source, the number of weights differs from it, a weight is not above 0, or a
                source fails its own check.
        """
        if not self.sources:
            raise ValueError("calibration.sources: expected at least one source, got none")
        if len(self.weights) != len(self.sources):
            counts = f"{len(self.weights)} weights for {len(self.sources)} sources"
            raise ValueError(f"calibration.weights: expected one per source, got {counts}")
        if invalid_weights := [weight for weight in self.weights if not (math.isfinite(weight) and weight > 0)]:
            raise ValueError(f"calibration.weights: expected numbers above 0, got {invalid_weights[0]}")
        for source in self.sources:
            source.check()

    def draw(self, seed: int) -> Iterator[Conversation]:
        conversation_streams = [source.draw(_source_seed(seed, index)) for index, source in enumerate(self.sources)]
        for index in self._source_indices():
            conversation = next(conversation_streams[index], None)
            if conversation is None:
                raise ValueError(
                    f"calibration: source {index + 1} of the mixture ({self.sources[index].record()}) has fewer "
                    "samples than its weight asks for; lower the weight, or ask for fewer samples"
                )
            yield replace(conversation, part=index)

    def _source_indices(self) -> Iterator[int]:
        """Yields, without end, the index of the source whose turn it is."""
        shares = np.asarray(self.weights, dtype=np.float64) / sum(self.weights)
        drawn_counts = np.zeros(len(shares))
        while True:
            # Rounded, so that sources of equal weight tie.
            index = int(np.argmax(np.round(shares * (drawn_counts.sum() + 1) - drawn_counts, 9)))
            drawn_counts[index] += 1
            yield index

    def record(self) -> dict[str, Any]:
        return {
            "class": type(self).__name__,
            "sources": [source.record() for source in self.sources],
            "weights": list(self.weights),
        }

    def origins(self) -> Iterator[CalibrationData]:
        for source in self.sources:
            yield from source.origins()


def _source_seed(seed: int, index: int) -> int:
    """Returns a seed for each source, so that sources of one kind do not draw the same rows."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])


class TextAlone(CalibrationData):
    """The conversations of another source without their pictures: the same text, drawn in the same order.

    Args:
        source: calibration data of any kind.
    """

    def __init__(self, source: CalibrationData) -> None:
        self.source = source

    def check(self) -> None:
        self.source.check()

    def draw(self, seed: int) -> Iterator[Conversation]:
        for conversation in self.source.draw(seed):
            yield conversation if conversation.fault is not None else _without_pictures(conversation)

    def record(self) -> dict[str, Any]:
        return {"class": type(self).__name__, "source": self.source.record()}

    def origins(self) -> Iterator[CalibrationData]:
        yield from self.source.origins()


def _without_pictures(conversation: Conversation) -> Conversation:
    try:
        turns = [_text_turn(turn) for turn in turns_of(conversation.turns)]
    except ValueError as error:
        return replace(conversation, turns=(), pictures=(), fault=reason(error))
    return replace(conversation, turns=turns, pictures=())


def _text_turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    chat_message = message(turn)
    texts = [part["text"] for part in chat_message["content"] if part["type"] == "text"]
    return {"role": chat_message["role"], "text": " ".join(texts)}
