"""The report as HTML, with everything in one file, and as Markdown, with the figures beside it."""

import os
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from atv.records.files import atomic
from atv.reporting import numbers, setup
from atv.reporting.collection import Collection
from atv.statistics.p_values import written_p

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
}


def write_pages(collection: Collection, output: Path) -> Path:
    """report.html and report.md.

    Returns:
        The HTML file.
    """
    for kind in ("md", "html"):
        with atomic(output / f"report.{kind}") as path:
            path.write_text(page(collection, output, kind), encoding="utf-8")
    return output / "report.html"


def page(collection: Collection, output: Path, kind: str) -> str:
    """The text of report.html or report.md (``kind`` is "html" or "md") that is to lie in ``output``."""
    environment = Environment(
        loader=PackageLoader("atv.reporting"),
        autoescape=kind == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"ours": numbers.ours, "number": numbers.number, "duration": numbers.duration}
    environment.filters["chance"] = written_p
    environment.filters |= {"strip": numbers.strip, "setup": setup.setup, "inline": _inline}
    return environment.get_template(f"report.{kind}.jinja").render(
        collection=collection,
        findings=[(section, finding) for section in collection.sections for finding in section.findings],
        shared=setup.shared(collection.sections),
        differing=setup.differing(collection.sections),
        signs=SIGNS,
        long=LONG,
        relative=lambda file: Path(os.path.relpath(file, output)).as_posix(),
    )


def _inline(text: str) -> str:
    """Text in one line that breaks no Markdown table and makes no HTML."""
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")
