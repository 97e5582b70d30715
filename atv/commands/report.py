"""``atv report``"""

from pathlib import Path

from rich.console import Console

from atv.records.files import writable
from atv.reporting.collection import Collection
from atv.reporting.pages import write_pages


def report(results: Path = Path("results"), output: Path = Path("results/report"), beside: Path | None = None) -> None:
    """Make one page with the results of all ablations: report.html, which needs no other file, and report.md.

    The page begins with a figure of all findings. It shows each finding of the paper, our number with its interval
    beside the paper's, the verdict, tables, figures, and the command that reruns each ablation.

    Args:
        results: Folder that contains the ablations' folders, as atv ablate writes it.
        output: Folder for the two files and the figure of all findings.
        beside: Folder that contains the ablations' folders of a different model. The page shows that model's findings
            beside these, and what carries over from one model to the other. Default: none.
    """
    collection = Collection.read(results, output)
    other_collection = None if beside is None else Collection.read(beside, output, "beside")
    html = write_pages(collection, writable(output, "output"), other_collection)
    console = Console()
    for name, reason in collection.skipped.items():
        console.print(f"skipped: {results / name}: {reason}", soft_wrap=True, markup=False)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in collection.verdicts.items())
    console.print(f"ablations: {len(collection.sections)}; findings: {counts}", highlight=False)
    console.print(f"the report is in {html}", soft_wrap=True, markup=False)
