"""Scores of the nine benchmarks, each with its own rule for reading an answer."""

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
