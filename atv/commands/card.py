"""``atv card``"""

from pathlib import Path

from rich.console import Console

import atv


def card(folder: Path, scores: Path | None = None, trust_remote_code: bool = False) -> None:
    """Write a pruned model's card, README.md with its figure, from its report, and add what it scores.

    Args:
        scores: File scores.json that atv evaluate wrote for the model; retention is in it where the evaluation was told
            of the dense model's. Another model's are refused.
    """
    atv.renew_card(folder, scores, trust_remote_code=trust_remote_code)
    Console().print(f"the card is in {folder / 'README.md'}")
