"""``atv card``"""

from pathlib import Path

from rich.console import Console

from atv.output import sidecar
from atv.output.model_card import leave_card, read_scores


def card(folder: Path, scores: Path | None = None) -> None:
    """Write a pruned model's card, README.md with its figure, from its report, and add what it scores.

    Args:
        folder: Folder that atv prune wrote.
        scores: The scores.json that atv evaluate wrote for it; retention is in it where the evaluation was told of
            the dense model's.
    """
    report = sidecar.read(folder)
    if scores is not None:
        report["scores"] = read_scores(scores)
    leave_card(folder, report)
    Console().print(f"the card is in {folder / 'README.md'}")
