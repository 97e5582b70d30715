"""The words of other data, without their pictures."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from atv.data.base import CalibrationData, Conversation
from atv.data.turns import message, turns_of
from atv.data.wording import reason


class TextAlone(CalibrationData):
    """The conversations of another source with their pictures left out: the same words, drawn alike, and nothing seen.

    Args:
        source: calibration data of any kind.
    """

    def __init__(self, source: CalibrationData) -> None:
        self.source = source

    def check(self) -> None:
        self.source.check()

    def draw(self, seed: int) -> Iterator[Conversation]:
        for conversation in self.source.draw(seed):
            yield conversation if conversation.fault is not None else _unseen(conversation)

    def record(self) -> dict[str, Any]:
        return {"class": type(self).__name__, "source": self.source.record()}

    def origins(self) -> Iterator[CalibrationData]:
        yield from self.source.origins()


def _unseen(conversation: Conversation) -> Conversation:
    try:
        turns = [_words(turn) for turn in turns_of(conversation.turns)]
    except ValueError as error:
        return replace(conversation, turns=(), pictures=(), fault=reason(error))
    return replace(conversation, turns=turns, pictures=())


def _words(turn: Mapping[str, Any]) -> dict[str, Any]:
    said = message(turn)
    texts = [part["text"] for part in said["content"] if part["type"] == "text"]
    return {"role": said["role"], "text": " ".join(texts)}
