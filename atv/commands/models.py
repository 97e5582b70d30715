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
    tested_table = Table("type", "class", "passes", "notes")
    for model_type, row in support["types"].items():
        tested_table.add_row(model_type, row["class"], passes(row), notes(row))
    rejected_table = Table("rejected type", "reason")
    for model_type, reason in support["refused"].items():
        rejected_table.add_row(model_type, reason)
    untested_table = Table("type that was not tested", "what is known about it")
    for model_type, description in support["untried"].items():
        untested_table.add_row(model_type, description)
    console = Console()
    for table in (tested_table, rejected_table, untested_table):
        console.print(table)
    console.print(f"Checks: {', '.join(support['checks'])}. Found with transformers {support['transformers']}.")


def passes(row: Mapping[str, Any]) -> str:
    """Says which checks a type passes: all, or all but the named ones."""
    return f"all but {', '.join(row['failed'])}" if row["failed"] else "all"


def notes(row: Mapping[str, Any]) -> str:
    """Says how visual tokens are marked (unless by ids), whether clips are tested, what stays dense, and our note."""
    remarks = [row["visual_tokens"], "clips" if row["clips"] else "", row["note"]]
    if row["left_dense"]:
        remarks.append(f"left dense: {', '.join(row['left_dense'])}")
    return "; ".join(remark for remark in remarks if remark)
