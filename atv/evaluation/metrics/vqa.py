"""VQA accuracy, as OK-VQA, VizWiz and TextVQA are scored."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from atv.evaluation.metrics.base import GroupedScore

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
# The original's look-behind is mistyped; kept for parity.
_PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_ARTICLES = {"a", "an", "the"}
_DIGITS = "0 0 1 2 3 4 5 6 7 8 9 10".split()  # noqa: SIM905
_NUMBERS = dict(zip("none zero one two three four five six seven eight nine ten".split(), _DIGITS, strict=True))  # noqa: SIM905
_CONTRACTED = """
aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's i'm i've isn't
it'd it'll let's ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't
somebody's someone's something's that's there'd there're there's they'd they'll they're they've wasn't we've weren't
what'll what're what's what've when's where'd where's where've who'd who'll who's who've why'll why're why's won't
would've wouldn't y'all you'd you'll you're you've
"""
_CONTRACTIONS = {word.replace("'", ""): word for word in _CONTRACTED.split()}


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
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


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

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        return vqa_accuracy(prediction, question["answers"])
