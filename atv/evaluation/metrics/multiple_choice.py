"""Multiple choice: how ScienceQA, MMBench (circular) and MMMU read a letter out of an answer."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from atv.evaluation.metrics.base import GroupedScore

LETTERS = "ABCDEFGHIJ"
_LONE = ("{}", "{}.", "{},", "{}:", "{})", "{}).", "({})", "({}).", ":{}", ":{},", ":{}.", ":{})", ":{}).")


def letter(prediction: str) -> str | None:
    """ScienceQA's rule: the letter alone, or an answer that begins "X.".

    >>> letter("b"), letter("B. star"), letter("B star"), letter("b. star")
    ('B', 'B', None, None)
    """
    said = prediction.strip()
    if len(said) == 1 and said.isalpha():
        return said.upper()
    return said[0] if said[:1].isupper() and said[1:2] == "." else None


def lone_letter(prediction: str) -> str | None:
    """The one letter from A to E among the words, bare or in one kind of punctuation; a bare A in a sentence is none.

    >>> lone_letter("(B)"), lone_letter("It is C."), lone_letter("A or B"), lone_letter("A cat on it")
    ('B', 'C', None, None)
    """
    words = prediction.split()
    for form in _LONE:
        said = [each for each in "ABCDE" if form.format(each) in words]
        article = form == "{}" and said == ["A"] and len(words) > 3
        if len(said) == 1 and not article:
            return said[0]
    return None


def circular_letter(prediction: str, options: Sequence[str]) -> str | None:
    """MMBench's parse: a lone letter, else the one option contained in the answer, else None (counted wrong).

    An option "" is none, and holds the place of its letter.

    >>> circular_letter("(B)", ["star", "ring"]), circular_letter("a ring", ["star", "ring"])
    ('B', 'B')
    >>> circular_letter("?", ["star", "ring"]) is None
    True
    """
    said = prediction.lower()
    contained = [each for each, option in zip(LETTERS, options, strict=False) if option and option.lower() in said]
    return lone_letter(prediction) or (contained[0] if len(contained) == 1 else None)


def last_letter(prediction: str, options: Sequence[str]) -> str | None:
    """MMMU's parse: "(A)", else "A ", else "A.", else an option's text; None is wrong.

    The last occurrence wins, of letters with a full stop the first one of the alphabet, as in the original.

    >>> last_letter("not (A) but (B)", ["1", "2"]), last_letter("it is 2", ["1", "2"]), last_letter("?", ["1", "2"])
    ('B', 'B', None)
    """
    said, texts = f" {_stripped(prediction)} ", dict(zip(LETTERS, options, strict=False))
    # As the original, "A " is found at a word's end too, but a letter by itself goes first; and "A." is looked for as
    # such a letter, which there is none of by then.
    for form, place in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        if letters := [each for each in texts if form.format(each) in said]:
            return max(letters, key=lambda each: said.rfind(place.format(each)))
    letters = [each for each, text in texts.items() if text.lower() in said.lower()]
    return max(letters, key=lambda each: said.lower().rfind(texts[each].lower()), default=None)


def _stripped(text: str) -> str:
    text = text.strip()
    for mark in ",.!?;:'":
        text = text.strip(mark)
    return text


class LetterChoice(GroupedScore):
    """Share of right letters."""

    def read(self, prediction: str, question: Mapping[str, Any]) -> str | None:
        return letter(prediction)


class CircularChoice(GroupedScore):
    """Share of questions with every rotation right; an answer that cannot be parsed is wrong, never drawn."""

    def read(self, prediction: str, question: Mapping[str, Any]) -> str | None:
        return circular_letter(prediction, question["options"])

    def value(self, credits: Tensor) -> Tensor:
        return credits.min()
