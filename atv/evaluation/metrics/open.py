"""Open questions: GQA's exact match, and MMMU's match, for which any number or phrase in the answer may be correct."""

import re
import string
from collections.abc import Mapping
from typing import Any

from atv.evaluation.metrics.base import GroupedScore
from atv.evaluation.metrics.multiple_choice import last_letter

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NUMBERS = (
    r"-?\b\d{1,3}(?:,\d{3})+\b",
    r"-?\d+(?:\.\d+)?[eE][+-]?\d+",
    r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])",
)
_CUES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")


def plain(text: str) -> str:
    """Lower-cases a text and removes its punctuation.

    >>> plain(" Red.")
    'red'
    """
    return text.lower().translate(_NO_PUNCTUATION).strip()


class ExactMatch(GroupedScore):
    """Share of answers that are equal up to case and punctuation."""

    def read(self, prediction: str, question: Mapping[str, Any]) -> str:
        return plain(prediction)

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        return float(plain(prediction) == plain(question["answer"]))


def normal(text: str) -> list[str | float]:
    """Rounds a number to two decimals, or lower-cases a text; a single letter gets a space before it or after it.

    >>> normal("1,000.456"), normal(" Ring"), normal("N")
    ([1000.46], ['ring'], [' n', 'n '])
    """
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def candidates(prediction: str) -> list[str | float]:
    """Returns the phrases after cues such as "is", line by line, or else the whole answer; and every number in them.

    >>> candidates("The sum is 12 apples")
    ['12 apples', 12.0]
    """
    lines = prediction.strip().strip(".").lower().split("\n")
    phrases = [
        phrase for number, line in enumerate(lines) if (phrase := _after_last_cue(line, number == len(lines) - 1))
    ]
    phrases = phrases or [prediction.strip().strip(".").lower()]
    numbers = [number for phrase in phrases for pattern in _NUMBERS for number in re.findall(pattern, phrase)]
    return [candidate for text in (*phrases, *numbers) for candidate in normal(text)]


def _after_last_cue(line: str, is_last: bool) -> str:
    """Returns what follows the last cue ("=" is a cue on the last line), or nothing if that is only punctuation."""
    cues = (*_CUES, "=") if is_last else _CUES
    tails = [line.split(cue)[-1].strip() for cue in cues if cue in line]
    shortest = min(filter(None, tails), key=len, default="")
    return "" if shortest in tuple(":,.!?;'") else shortest


def open_match(prediction: str, answer: str) -> bool:
    """Whether a candidate equals the answer as a number, or contains it as text.

    >>> open_match("so x = 0.5", "0.50"), open_match("a red ring", "ring"), open_match("5 rings", "50")
    (True, True, False)
    """
    truths = normal(answer)
    return any(
        truth in candidate if isinstance(candidate, str) and isinstance(truth, str) else candidate == truth
        for candidate in candidates(prediction)
        for truth in truths
    )


class OpenOrChoice(GroupedScore):
    """Share of correct letters for questions with options, and of exact matches for questions without."""

    def read(self, prediction: str, question: Mapping[str, Any]) -> str | None:
        return last_letter(prediction, question["options"]) if question["options"] else plain(prediction)

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        answer = question["answer"]
        return float(self.read(prediction, question) == (answer if question["options"] else plain(answer)))


class OpenMatchOrChoice(OpenOrChoice):
    """MMMU's micro accuracy: a letter if there are options, else a number or phrase of the answer."""

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        if question["options"]:
            return super().credit(prediction, question)
        return float(open_match(prediction, question["answer"]))
