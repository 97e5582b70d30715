"""``atv report``"""

from pathlib import Path

from rich.console import Console

from atv.records.files import writable
from atv.reporting.collection import Collection
from atv.reporting.pages import write_pages


def report(results: Path = Path("results"), output: Path = Path("results/report")) -> None:
    """Make one page of all ablations' results: report.html, which needs no other file, and report.md.

    Shows each finding of the paper, our number beside the paper's with its interval, the verdict, tables, figures, and
    the command that runs each ablation again.

    Args:
        results: Folder above the folders of ablations, as atv ablate leaves it.
        output: Folder for the two files.
    """
    collection = Collection.read(results, output)
    html = write_pages(collection, writable(output, "output"))
    console = Console()
    for name, reason in collection.skipped.items():
        console.print(f"skipped: {results / name}: {reason}", soft_wrap=True, markup=False)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in collection.verdicts.items())
    console.print(f"ablations: {len(collection.sections)}; findings: {counts}", highlight=False)
    console.print(f"report is in {html}", soft_wrap=True, markup=False)
