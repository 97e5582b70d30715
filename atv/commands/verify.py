"""``atv verify``"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import atv


def verify(
    folder: Path,
    base: str | None = None,
    max_new_tokens: int = 8,
    plugin: list[Path] | Path | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Check a folder that atv prune or atv quantize wrote; an error names the first wrong tensor (exit code 2).

    Checks that zeros are exactly where the masks say, that the pattern holds in every group, that every other tensor
    equals the base model's bit for bit, and that the model loads and generates. Tensors are read one at a time. In a
    quantized folder, packed words and scales must match its record; what rounding may change is not compared.

    Args:
        folder: Folder of a pruned model, as atv prune writes it, or of a quantized one.
        base: Dense model that was pruned (a folder, "bundled" or "everyday"), to compare every other tensor with.
            Default: nothing is compared.
        max_new_tokens: Number of tokens to generate, to check that the model loads and generates; 0 for none.
    """
    with Progress(console=Console(stderr=True)) as progress:

        def watch(names: Sequence[str]) -> Iterable[str]:
            return progress.track(names, description="reading tensors")

        results = atv.verify(
            folder, base, max_new_tokens=max_new_tokens, trust_remote_code=trust_remote_code, watch=watch
        )
    console = Console()
    table = Table("check", "found")
    for check, result in results.items():
        table.add_row(check, result)
    console.print(table)
    console.print(f"{folder} matches its masks and its report")
