"""``atv card``"""

from pathlib import Path

from rich.console import Console

import atv


def card(folder: Path, scores: Path | None = None, trust_remote_code: bool = False) -> None:
    """Write a pruned model's card (README.md with its figure) from its report, optionally with the model's scores.

    Args:
        scores: File scores.json that atv evaluate wrote for this model; the scores of a different model are rejected.
            The file contains retention if the evaluation was given the dense model's results (--dense). Default: the
            card keeps the scores that it has.
    """
    atv.renew_card(folder, scores, trust_remote_code=trust_remote_code)
    Console().print(f"the card is in {folder / 'README.md'}")
