"""What one tracked run holds, whichever logger writes it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd


@dataclass(frozen=True)
class Entry:
    """A cell of an ablation, or the ablation's summary.

    Attributes:
        id: the same for the same content of the same ablation; a finished one is not logged again.
        name: for people.
        group: the ablation's name.
        kind: W&B's job type.
        config: what was run, on what.
        curves: one row a block; its number is ``keys.BLOCK``.
        points: numbers that are drawn against ``sparsity``, which is among them.
        lines: of a summary, method -> sparsity -> average retention.
        summary: what is not drawn: retention and scores by task, counts, times.
        tables, images: by name.
        files: masks and report.
        version: of the content; one that changed is logged again, in the earlier one's place.
    """

    id: str
    name: str
    group: str
    kind: Literal["cell", "summary"]
    config: dict[str, Any]
    curves: Sequence[dict[str, float]] = ()
    points: dict[str, float] = field(default_factory=dict)
    lines: dict[str, dict[float, float]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    images: dict[str, Path] = field(default_factory=dict)
    files: Sequence[Path] = ()
    version: str = ""
