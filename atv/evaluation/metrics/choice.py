"""Multiple choice: ScienceQA's, MMBench's circular and MMMU's."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from atv.evaluation.metrics.base import GroupedScore
from atv.evaluation.metrics.exact import exact_match

_LETTERS = "ABCDE"


def is_letter(prediction: str, answer: str) -> bool:
    """ScienceQA's rule: the letter alone, or an answer that begins "X.".

    >>> is_letter("b", "B"), is_letter("B. star", "B"), is_letter("B star", "B")
    (True, True, False)
    """
    said = prediction.strip()
    return said.lower() == answer.lower() or (len(said) >= 2 and said[0].upper() == answer.upper() and said[1] == ".")


def circular_letter(prediction: str, options: Sequence[str]) -> str | None:
    """MMBench's parse: a lone letter, else the one option contained in the answer, else None (counted wrong).

    >>> circular_letter("(B)", ["star", "ring"]), circular_letter("a ring", ["star", "ring"])
    ('B', 'B')
    >>> circular_letter("?", ["star", "ring"]) is None
    True
    """
    tokens = [token for token in re.split(r"[\s().,:;]+", prediction) if token in _LETTERS[: len(options)] and token]
    if len(set(tokens)) == 1:
        return tokens[0]
    contained = [
        letter for letter, option in zip(_LETTERS, options, strict=False) if option.lower() in prediction.lower()
    ]
    return contained[0] if len(contained) == 1 else None


def last_letter(prediction: str, options: Sequence[str]) -> str | None:
    """MMMU's parse: "(A)", else "A ", else "A.", else an option's text; the last occurrence wins; None is wrong.

    >>> last_letter("not (A) but (B)", ["1", "2"]), last_letter("it is 2", ["1", "2"])
    ('B', 'B')
    """
    letters, said = _LETTERS[: len(options)], f" {prediction.strip()} "
    for form in ("({})", " {} ", "{}."):
        places = {letter: said.rfind(form.format(letter)) for letter in letters}
        if max(places.values()) >= 0:
            return max(places, key=lambda letter: places[letter])
    texts = {letter: said.lower().rfind(text.lower()) for letter, text in zip(letters, options, strict=False)}
    return max(texts, key=lambda letter: texts[letter]) if max(texts.values(), default=-1) >= 0 else None


class LetterChoice(GroupedScore):
    """Share of right letters."""

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        return float(is_letter(prediction, question["answer"]))


class CircularChoice(GroupedScore):
    """Share of questions with every rotation right; an answer that cannot be parsed is wrong, never drawn."""

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        return float(circular_letter(prediction, question["options"]) == question["answer"])

    def value(self, credits: Tensor) -> Tensor:
        return credits.min()


class OpenOrChoice(GroupedScore):
    """MMMU's micro accuracy: a letter where there are options, an exact match where there are none."""

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        if question["options"]:
            return float(last_letter(prediction, question["options"]) == question["answer"])
        return float(exact_match(prediction, question["answer"]))
