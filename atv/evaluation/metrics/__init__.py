"""Scores of the nine benchmarks, one rule of reading an answer each."""

from atv.evaluation.metrics.base import GroupedScore
from atv.evaluation.metrics.multiple_choice import CircularChoice, LetterChoice
from atv.evaluation.metrics.open import ExactMatch, OpenMatchOrChoice, OpenOrChoice
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
