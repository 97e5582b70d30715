"""All ablations of a results folder."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import get_args

from atv.ablation.findings import Finding, Verdict
from atv.reporting.section import Section
from atv.statistics.paired_scores import corrected

# Finished cells, which are read through the ablations that took them.
CELLS = "cells"
# Of all decided verdicts, the share that may be wrong when the report is taken as a whole.
FALSE_SHARE = 0.05


@dataclass(frozen=True)
class Collection:
    """What a report shows.

    Attributes:
        sections: what repeats a part of the paper first, by that part's name, then what the paper does not ask.
        skipped: folder -> why it is not shown.
    """

    sections: Sequence[Section]
    skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, results: Path, output: Path, field: str = "results") -> "Collection":
        """Every folder of ``results`` but the cells and the report's own; errors name ``field``.

        Raises:
            ValueError: when there is no results folder or no ablation's results in it.
        """
        if not results.is_dir():
            raise ValueError(f"{field}: no folder {str(results)!r}; atv ablate makes one")
        sections, skipped = [], {}
        for folder in sorted(results.iterdir()):
            if not folder.is_dir() or folder.name.startswith(".") or folder.name == CELLS:
                continue
            if folder.resolve() == output.resolve():
                continue
            try:
                sections.append(Section.read(folder))
            except ValueError as error:
                skipped[folder.name] = str(error)
        if not sections:
            why = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
            raise ValueError(f"{field}: no ablation's results in {str(results)!r}" + (f" ({why})" if why else ""))
        return cls(sorted(sections, key=_place), skipped)

    @property
    def model(self) -> str:
        """What the ablations were run on."""
        return ", ".join(dict.fromkeys(section.run.get("model", "not recorded") for section in self.sections))

    @property
    def verdicts(self) -> dict[Verdict, int]:
        """How many findings have each verdict; 0 is told of the paper's."""
        counts = Counter(finding.verdict for section in self.sections for finding in section.findings)
        papers = ("holds", "does not hold")
        return {verdict: counts[verdict] for verdict in get_args(Verdict) if counts[verdict] or verdict not in papers}

    @cached_property
    def corrected(self) -> dict[Finding, float]:
        """Finding -> its p-value corrected for all findings of the report (Benjamini and Hochberg); without those that
        have no p-value, such as findings of an earlier version."""
        tested = [(finding, finding.p) for section in self.sections for finding in section.findings]
        told = [(finding, p) for finding, p in tested if p is not None]
        adjusted = corrected([p for _, p in told], "a share of false ones")
        return {finding: q for (finding, _), q in zip(told, adjusted, strict=True)}

    @property
    def standing(self) -> dict[Finding, bool]:
        """Decided finding -> whether its verdict stands when corrected."""
        decided = {finding: q for finding, q in self.corrected.items() if finding.verdict != "undecided"}
        return {finding: q <= FALSE_SHARE for finding, q in decided.items()}

    @property
    def seconds(self) -> dict[str, float]:
        """Cell -> seconds; cells that ablations share once."""
        return {cell: seconds for section in self.sections for cell, seconds in section.seconds.items()}

    @property
    def written(self) -> datetime | None:
        """When the last ablation's tables were made."""
        return max((section.written for section in self.sections if section.written), default=None)


def _place(section: Section) -> tuple[bool, str, str]:
    return not section.run["paper"], section.run["paper"].casefold(), section.name
