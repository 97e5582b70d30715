"""VQA accuracy, the score of OK-VQA, VizWiz and TextVQA."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from atv.evaluation.metrics.base import GroupedScore

_WORDS = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's isn't it'd
it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't somebody'll
somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's they'd they'll
they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll
who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
# Words with two apostrophes, either of which may be missing.
_TWO_APOSTROPHES = """
couldn't've hadn't've he'd've it'd've mightn't've shouldn't've someone'd've something'd've there'd've they'd've we'd've
who'd've wouldn't've you'd've
"""
# Irregular entries of the original: some lack one form, and one has its sides swapped.
_IRREGULAR = {
    "ow's'at": "'ow's'at",
    "'ows'at": "'ow's'at",
    "'ow'sat": "'ow's'at",
    "shed've": "she'd've",
    "she'dve": "she'd've",
    "somebody'd": "somebodyd",
    "somebodyd've": "somebody'd've",
    "somebody'dve": "somebody'd've",
    "yall'll": "y'all'll",
    "y'allll": "y'all'll",
    "yall'd've": "y'all'd've",
    "y'alld've": "y'all'd've",
    "y'all'dve": "y'all'd've",
}


def _one_apostrophe_missing(word: str) -> dict[str, str]:
    """Maps the two spellings of a word that lack one of its two apostrophes to the word."""
    first, second, third = word.split("'")
    return {f"{first}{second}'{third}": word, f"{first}'{second}{third}": word}


CONTRACTIONS = {word.replace("'", ""): word for word in _WORDS.split()} | _IRREGULAR
for _word in _TWO_APOSTROPHES.split():
    CONTRACTIONS |= _one_apostrophe_missing(_word)


_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
# The look-behind is mistyped in the original; kept for parity.
_PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_ARTICLES = {"a", "an", "the"}
_DIGITS = "0 0 1 2 3 4 5 6 7 8 9 10".split()  # noqa: SIM905
_NUMBERS = dict(zip("none zero one two three four five six seven eight nine ten".split(), _DIGITS, strict=True))  # noqa: SIM905


def normalize(text: str) -> str:
    """Normalizes a text as the VQA evaluation does.

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
    """Returns the mean over the ten answers of min(1, agreeing *other* answers / 3).

    >>> vqa_accuracy("red", ["red"] * 2 + ["blue"] * 8)
    0.6
    """
    answer, truths = normalize(prediction), [normalize(truth) for truth in answers]
    matches = truths.count(answer)
    credits = [min(1.0, (matches - (truth == answer)) / 3) for truth in truths]
    return round(sum(credits) / len(credits), 12)


class VQAAccuracy(GroupedScore):
    """Leave-one-out VQA accuracy."""

    def read(self, prediction: str, question: Mapping[str, Any]) -> str:
        return normalize(prediction)

    def credit(self, prediction: str, question: Mapping[str, Any]) -> float:
        return vqa_accuracy(prediction, question["answers"])
