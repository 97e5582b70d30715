"""The report as HTML, with everything in one file, and as Markdown, with the figures beside it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from atv.data.source_words import in_words
from atv.figures.saving import save_figure
from atv.records.files import write_text
from atv.records.page_parts import data_url, template
from atv.reporting import numbers
from atv.reporting.carry_over import counted, pairs
from atv.reporting.collection import Collection
from atv.reporting.forest import forest_figure
from atv.reporting.section import Section
from atv.statistics.paired_scores import written_p

FIELDS = {
    "model": "Model",
    "calibration": "Calibration data",
    "samples": "Calibration samples",
    "evaluation": "Questions",
    "split": "Split",
    "groups": "Groups a task",
    "seeds": "Seeds",
    "hardware": "Hardware",
    "git": "Revision",
    "versions": "Versions",
}
FOREST = "forest.png"
# Longer tables are folded.
LONG = 15
# A verdict is told by its words and its sign, never by its colour alone.
SIGNS = {
    "reproduced": "✓",
    "not reproduced": "✕",
    "practically equal": "≈",
    "undecided": "?",
    "holds": "✓",
    "does not hold": "✕",
    "carried over": "✓",
    "not carried over": "✕",
    "open": "?",
    "one model alone": "·",
}


def setup(run: Mapping[str, Any]) -> dict[str, str]:
    """Heading -> value in words, of what run.json says."""
    return {heading: _worded(field, run[field]) for field, heading in FIELDS.items() if field in run}


def shared(sections: Sequence[Section]) -> dict[str, str]:
    """What all sections have in common."""
    return {heading: next(iter(by_value)) for heading, by_value in _values(sections).items() if len(by_value) == 1}


def differing(sections: Sequence[Section]) -> dict[str, dict[str, list[str]]]:
    """Heading -> value -> names of the sections that have it, where there is more than one value."""
    return {heading: by_value for heading, by_value in _values(sections).items() if len(by_value) > 1}


def _values(sections: Sequence[Section]) -> dict[str, dict[str, list[str]]]:
    by_heading: dict[str, dict[str, list[str]]] = {heading: {} for heading in FIELDS.values()}
    for section in sections:
        described = setup(section.run)
        for heading, by_value in by_heading.items():
            by_value.setdefault(described.get(heading, "not recorded"), []).append(section.name)
    return by_heading


def _worded(field: str, value: Any) -> str:
    match field:
        case "seeds":
            return ", ".join(map(str, value))
        case "groups":
            return "all" if value is None else f"first {value:,}"
        case "samples":
            return f"{value:,}"
        case "git":
            return f"{value[:-1]}, with changes that are not committed" if value.endswith("+") else value
        case "calibration" if isinstance(value, dict):
            return in_words(value)
        case "versions":
            return ", ".join(f"{name} {version}" for name, version in value.items())
    return str(value)


def write_pages(collection: Collection, output: Path, beside: Collection | None = None) -> Path:
    """report.html, report.md, and for the latter forest.png, where there are findings.

    Args:
        beside: another model's results, whose findings stand beside the collection's.

    Returns:
        The HTML file.
    """
    picture = b""
    if found := pairs(collection, beside):
        save_figure(forest_figure(found, [each.model for each in (collection, beside) if each]), output / FOREST)
        picture = (output / FOREST).read_bytes()
    for kind in ("md", "html"):
        write_text(output / f"report.{kind}", page(collection, output, kind, beside, picture))
    return output / "report.html"


def page(
    collection: Collection, output: Path, kind: str, beside: Collection | None = None, picture: bytes = b""
) -> str:
    """The text of report.html or report.md (``kind`` is "html" or "md") that is to lie in ``output``.

    Args:
        beside: as for ``write_pages``.
        picture: the content of forest.png; empty where there is none.
    """
    found = pairs(collection, beside)
    filters: dict[str, Any] = {"ours": numbers.ours, "number": numbers.number, "duration": numbers.duration}
    filters |= {"strip": numbers.strip, "chance": written_p, "setup": setup, "inline": _inline}
    return template("reporting", f"report.{kind}.jinja", filters).render(
        collection=collection,
        findings=[(section, finding) for section in collection.sections for finding in section.findings],
        runs=[(each, shared(each.sections), differing(each.sections)) for each in (collection, beside) if each],
        beside=beside,
        pairs=found,
        carried=counted(found),
        forest=data_url(picture, "png") if picture else "",
        forest_name=FOREST,
        signs=SIGNS,
        long=LONG,
        relative=lambda file: quote(Path(os.path.relpath(file, output)).as_posix()),
    )


def _inline(text: str) -> str:
    """Text in one line that breaks no Markdown table and makes no HTML."""
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")
