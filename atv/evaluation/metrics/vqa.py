"""VQA accuracy, as OK-VQA, VizWiz and TextVQA are scored."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from atv.evaluation.metrics.base import GroupedScore
from atv.evaluation.metrics.contractions import CONTRACTIONS

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
# The original's look-behind is mistyped; kept for parity.
_PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_ARTICLES = {"a", "an", "the"}
_DIGITS = "0 0 1 2 3 4 5 6 7 8 9 10".split()  # noqa: SIM905
_NUMBERS = dict(zip("none zero one two three four five six seven eight nine ten".split(), _DIGITS, strict=True))  # noqa: SIM905


def normalize(text: str) -> str:
    """The VQA evaluation's normaliser.

    >>> normalize("The  two dogs, don't!")
    "2 dogs don't"
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    clean = text
    for mark in _PUNCTUATION:
        if f"{mark} " in text or f" {mark}" in text or _COMMA_IN_NUMBER.search(text):
            clean = clean.replace(mark, "")
        else:
            clean = clean.replace(mark, " ")
    words = [_NUMBERS.get(word, word) for word in _PERIOD.sub("", clean).lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Mean over the ten answers of min(1, agreeing *other* answers / 3).

    >>> vqa_accuracy("red", ["red"] * 2 + ["blue"] * 8)
    0.6
    """
    answer, truths = normalize(prediction), [normalize(truth) for truth in answers]
    matches = truths.count(answer)
    each = [min(1.0, (matches - (truth == answer)) / 3) for truth in truths]
    return round(sum(each) / len(each), 12)


class VQAAccuracy(GroupedScore):
    """Leave-one-out VQA accuracy."""

    def read(self, prediction: str, question: Mapping[str, Any]) -> str:
        return normalize(prediction)

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        return vqa_accuracy(prediction, question["answers"])
