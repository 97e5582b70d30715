"""Scores of the nine benchmarks, one rule of reading an answer each."""

from atv.evaluation.metrics.base import GroupedScore
from atv.evaluation.metrics.exact_and_choice import CircularChoice, ExactMatch, LetterChoice, OpenOrChoice
from atv.evaluation.metrics.open import OpenMatchOrChoice
from atv.evaluation.metrics.vqa import VQAAccuracy
from atv.evaluation.metrics.yes_no import MMEPoints, PairedYesNo, YesNo

__all__ = [
    "CircularChoice",
    "ExactMatch",
    "GroupedScore",
    "LetterChoice",
    "MMEPoints",
    "OpenMatchOrChoice",
    "OpenOrChoice",
    "PairedYesNo",
    "VQAAccuracy",
    "YesNo",
]
