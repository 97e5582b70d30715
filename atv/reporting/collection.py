"""Reads all ablations of a results folder."""

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

# The folder of finished cells; the report shows them only through the ablations that used them.
CELLS = "cells"
# False discovery rate: the share of decided verdicts that may be wrong when the report is taken as a whole.
FALSE_SHARE = 0.05


@dataclass(frozen=True)
class Collection:
    """The ablations that a report shows.

    Attributes:
        sections: first the ablations that repeat a part of the paper, sorted by that part's name, then the others.
        skipped: folder -> why it is not shown.
    """

    sections: Sequence[Section]
    skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, results: Path, output: Path, field: str = "results") -> "Collection":
        """Reads every folder in ``results`` except the cells and the report's own; errors name ``field``.

        Raises:
            ValueError: if there is no results folder, or no ablation's results in it.
        """
        if not results.is_dir():
            raise ValueError(f"{field}: no folder {str(results)!r}; atv ablate creates it")
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
            reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
            raise ValueError(
                f"{field}: no ablation's results in {str(results)!r}" + (f" ({reasons})" if reasons else "")
            )
        return cls(sorted(sections, key=_sort_key), skipped)

    @property
    def model(self) -> str:
        """The model that the ablations were run on, or all of them if there are several."""
        return ", ".join(dict.fromkeys(section.run.get("model", "not recorded") for section in self.sections))

    @property
    def verdicts(self) -> dict[Verdict, int]:
        """Verdict -> number of findings; "holds" and "does not hold" are left out if no finding has them."""
        counts = Counter(finding.verdict for section in self.sections for finding in section.findings)
        of_our_claims = ("holds", "does not hold")
        return {
            verdict: counts[verdict] for verdict in get_args(Verdict) if counts[verdict] or verdict not in of_our_claims
        }

    @cached_property
    def corrected(self) -> dict[Finding, float]:
        """Finding -> p-value corrected for all findings of the report (Benjamini and Hochberg).

        Findings without a p-value, such as those of an earlier version, are left out.
        """
        tested = [(finding, finding.p) for section in self.sections for finding in section.findings]
        findings_with_p = [(finding, p) for finding, p in tested if p is not None]
        adjusted = corrected([p for _, p in findings_with_p], "a share of false ones")
        return {finding: q for (finding, _), q in zip(findings_with_p, adjusted, strict=True)}

    @property
    def standing(self) -> dict[Finding, bool]:
        """Decided finding with a p-value -> whether its verdict stands after the correction."""
        decided = {finding: q for finding, q in self.corrected.items() if finding.verdict != "undecided"}
        return {finding: q <= FALSE_SHARE for finding, q in decided.items()}

    @property
    def seconds(self) -> dict[str, float]:
        """Cell id -> seconds; a cell that several ablations share counts once."""
        return {cell: seconds for section in self.sections for cell, seconds in section.seconds.items()}

    @property
    def written(self) -> datetime | None:
        """When the latest tables were written; None if no ablation recorded it."""
        return max((section.written for section in self.sections if section.written), default=None)


def _sort_key(section: Section) -> tuple[bool, str, str]:
    return not section.run["paper"], section.run["paper"].casefold(), section.name
