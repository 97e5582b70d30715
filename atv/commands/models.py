"""``atv models``"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# Results of the conformance suite; `make models` renews them.
TABLE = Path(__file__).with_name("models.json")


def models() -> None:
    """Print the tested model types with the checks that each passes, the types that are rejected, and all others.

    The conformance suite obtained these results on tiny random models, with the release of transformers that it prints.
    """
    support = json.loads(TABLE.read_text())
    tested = Table("type", "class", "passes", "notes")
    for kind, row in support["types"].items():
        tested.add_row(kind, row["class"], passes(row), notes(row))
    refused = Table("rejected type", "reason")
    for kind, reason in support["refused"].items():
        refused.add_row(kind, reason)
    untried = Table("type that was not tested", "what is known about it")
    for kind, known in support["untried"].items():
        untried.add_row(kind, known)
    console = Console()
    for table in (tested, refused, untried):
        console.print(table)
    console.print(f"Checks: {', '.join(support['checks'])}. Found with transformers {support['transformers']}.")


def passes(row: Mapping[str, Any]) -> str:
    """Says which checks a type passes: all, or all but the named ones."""
    return f"all but {', '.join(row['failed'])}" if row["failed"] else "all"


def notes(row: Mapping[str, Any]) -> str:
    """Says how visual tokens are marked (unless by ids), whether clips are tested, what stays dense, and our note."""
    parts = [row["visual_tokens"], "clips" if row["clips"] else "", row["note"]]
    if row["left_dense"]:
        parts.append(f"left dense: {', '.join(row['left_dense'])}")
    return "; ".join(part for part in parts if part)
