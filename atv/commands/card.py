"""``atv card``"""

from pathlib import Path

from rich.console import Console

import atv


def card(folder: Path, scores: Path | None = None) -> None:
    """Write a pruned model's card, README.md with its figure, from its report, and add what it scores.

    Args:
        scores: File scores.json that atv evaluate wrote for the model; retention is in it where the evaluation was told
            of the dense model's.
    """
    atv.renew_card(folder, scores)
    Console().print(f"the card is in {folder / 'README.md'}")
