"""Multiple choice: how ScienceQA, MMBench (circular) and MMMU read a letter from an answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from atv.evaluation.metrics.base import GroupedScore

LETTERS = "ABCDEFGHIJ"
_LONE_PATTERNS = ("{}", "{}.", "{},", "{}:", "{})", "{}).", "({})", "({}).", ":{}", ":{},", ":{}.", ":{})", ":{}).")


def letter(prediction: str) -> str | None:
    """Reads a letter by ScienceQA's rule: the letter alone, or an answer that begins with "X.".

    >>> letter("b"), letter("B. star"), letter("B star"), letter("b. star")
    ('B', 'B', None, None)
    """
    stripped = prediction.strip()
    if len(stripped) == 1 and stripped.isalpha():
        return stripped.upper()
    return stripped[0] if stripped[:1].isupper() and stripped[1:2] == "." else None


def lone_letter(prediction: str) -> str | None:
    """Returns the only letter from A to E among the words, bare or with one kind of punctuation.

    A bare A in a sentence is not a letter.

    >>> lone_letter("(B)"), lone_letter("It is C."), lone_letter("A or B"), lone_letter("A cat on it")
    ('B', 'C', None, None)
    """
    words = prediction.split()
    for pattern in _LONE_PATTERNS:
        letters = [choice for choice in "ABCDE" if pattern.format(choice) in words]
        article = pattern == "{}" and letters == ["A"] and len(words) > 3
        if len(letters) == 1 and not article:
            return letters[0]
    return None


def circular_letter(prediction: str, options: Sequence[str]) -> str | None:
    """Reads a letter by MMBench's rule: a lone letter, else the only option in the answer, else None (counts as wrong).

    An option "" is no option; it only holds the place of its letter.

    >>> circular_letter("(B)", ["star", "ring"]), circular_letter("a ring", ["star", "ring"])
    ('B', 'B')
    >>> circular_letter("?", ["star", "ring"]) is None
    True
    """
    lowered = prediction.lower()
    contained = [
        choice for choice, option in zip(LETTERS, options, strict=False) if option and option.lower() in lowered
    ]
    return lone_letter(prediction) or (contained[0] if len(contained) == 1 else None)


def last_letter(prediction: str, options: Sequence[str]) -> str | None:
    """Reads a letter by MMMU's rule: "(A)", else "A ", else "A.", else an option's text; None is wrong.

    The last occurrence wins; among letters with a full stop, the alphabetically first one wins, as in the original.

    >>> last_letter("not (A) but (B)", ["1", "2"]), last_letter("it is 2", ["1", "2"]), last_letter("?", ["1", "2"])
    ('B', 'B', None)
    """
    spaced_answer, option_texts = f" {_stripped(prediction)} ", dict(zip(LETTERS, options, strict=False))
    # As in the original, "A " is also found at the end of a word, but a letter by itself takes precedence. "A." is
    # located as a letter by itself, and by then there is none.
    for pattern, position_pattern in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        if letters := [choice for choice in option_texts if pattern.format(choice) in spaced_answer]:
            return max(letters, key=lambda choice: spaced_answer.rfind(position_pattern.format(choice)))
    letters = [choice for choice, option in option_texts.items() if option.lower() in spaced_answer.lower()]
    return max(letters, key=lambda choice: spaced_answer.lower().rfind(option_texts[choice].lower()), default=None)


def _stripped(text: str) -> str:
    text = text.strip()
    for mark in ",.!?;:'":
        text = text.strip(mark)
    return text


class LetterChoice(GroupedScore):
    """Share of correct letters."""

    def read(self, prediction: str, question: Mapping[str, Any]) -> str | None:
        return letter(prediction)


class CircularChoice(GroupedScore):
    """Share of questions with every rotation correct; an answer that cannot be parsed is wrong, never guessed."""

    def read(self, prediction: str, question: Mapping[str, Any]) -> str | None:
        return circular_letter(prediction, question["options"])

    def value(self, credits: Tensor) -> Tensor:
        return credits.min()
