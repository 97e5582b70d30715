"""Passages of prose to calibrate with: plain English that the model has rehearsed, and none that measures it.

Half are of *Moby-Dick*, half of speeches; sources are in ``english/ATTRIBUTION.md``, and
``atv.everyday.training.rehearsal`` made the file.
"""

from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("passages.txt")


@cache
def passages() -> tuple[str, ...]:
    """256 passages of 120 words or more, the novel's first."""
    return tuple(FILE.read_text(encoding="utf-8").splitlines())
