"""Writes the report as HTML, in one self-contained file, and as Markdown, with its figures in separate files."""

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
from atv.reporting.carry_over import carried_counts, pairs
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
    "groups": "Groups per task",
    "seeds": "Seeds",
    "hardware": "Hardware",
    "git": "Revision",
    "versions": "Versions",
}
FOREST = "forest.png"
# Tables with more rows are folded.
LONG = 15
# Words and a sign show the verdict, never colour alone.
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
    """Returns heading -> value in words, for the settings in run.json."""
    return {heading: _worded(field, run[field]) for field, heading in FIELDS.items() if field in run}


def shared(sections: Sequence[Section]) -> dict[str, str]:
    """Returns heading -> value, for the settings that are the same in all sections."""
    return {heading: next(iter(by_value)) for heading, by_value in _values(sections).items() if len(by_value) == 1}


def differing(sections: Sequence[Section]) -> dict[str, dict[str, list[str]]]:
    """Returns heading -> value -> names of the sections that have it, for settings with more than one value."""
    return {heading: by_value for heading, by_value in _values(sections).items() if len(by_value) > 1}


def _values(sections: Sequence[Section]) -> dict[str, dict[str, list[str]]]:
    by_heading: dict[str, dict[str, list[str]]] = {heading: {} for heading in FIELDS.values()}
    for section in sections:
        settings = setup(section.run)
        for heading, by_value in by_heading.items():
            by_value.setdefault(settings.get(heading, "not recorded"), []).append(section.name)
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
            return f"{value[:-1]}, with uncommitted changes" if value.endswith("+") else value
        case "calibration" if isinstance(value, dict):
            return in_words(value)
        case "versions":
            return ", ".join(f"{name} {version}" for name, version in value.items())
    return str(value)


def write_pages(collection: Collection, output: Path, beside: Collection | None = None) -> Path:
    """Writes report.html, report.md and, if there are findings, forest.png, to which report.md refers.

    Args:
        beside: results of a different model, whose findings are shown beside the collection's.

    Returns:
        The path of the HTML file.
    """
    picture = b""
    if found_pairs := pairs(collection, beside):
        save_figure(
            forest_figure(found_pairs, [results.model for results in (collection, beside) if results]),
            output / FOREST,
        )
        picture = (output / FOREST).read_bytes()
    for extension in ("md", "html"):
        write_text(output / f"report.{extension}", page(collection, output, extension, beside, picture))
    return output / "report.html"


def page(
    collection: Collection, output: Path, kind: str, beside: Collection | None = None, picture: bytes = b""
) -> str:
    """Returns the text of report.html or report.md.

    Args:
        output: folder of the file, which its links start from.
        kind: "html" or "md".
        beside: as for ``write_pages``.
        picture: content of forest.png; empty if there is none.
    """
    found_pairs = pairs(collection, beside)
    filters: dict[str, Any] = {
        "value_and_interval": numbers.value_and_interval,
        "number": numbers.number,
        "duration": numbers.duration,
    }
    filters |= {"strip": numbers.strip, "chance": written_p, "setup": setup, "inline": _inline}
    return template("reporting", f"report.{kind}.jinja", filters).render(
        collection=collection,
        findings=[(section, finding) for section in collection.sections for finding in section.findings],
        runs=[
            (results, shared(results.sections), differing(results.sections))
            for results in (collection, beside)
            if results
        ],
        beside=beside,
        pairs=found_pairs,
        carried=carried_counts(found_pairs),
        forest=data_url(picture, "png") if picture else "",
        forest_name=FOREST,
        signs=SIGNS,
        long=LONG,
        relative=lambda file: quote(Path(os.path.relpath(file, output)).as_posix()),
    )


def _inline(text: str) -> str:
    """Returns text as one line that neither breaks a Markdown table nor is read as HTML."""
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")
