"""``atv masks pack``, ``atv masks apply`` and ``atv masks diff``"""

from pathlib import Path

from rich.console import Console
from rich.table import Table

import atv


def masks_pack(
    folder: Path,
    base: str,
    output: Path,
    plugin: list[Path] | Path | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Pack a pruned model's masks for publication, at one bit per weight, with a card.

    Writes masks.safetensors (which names the model that the masks were made on), report.json and a card. If kept
    weights were updated or trained, their new values are added (compressed); if the processor differs from the base
    model's, it is added too. The folder is first verified against its base model. Nothing leaves this machine.

    Args:
        base: Dense model that was pruned: a folder, a hub id, "bundled" or "everyday".
        output: Folder to write to: new or empty.
    """
    files = atv.pack_masks(folder, output, base, trust_remote_code=trust_remote_code)
    console = Console()
    table = Table("file", "bytes")
    for name, size in files.items():
        table.add_row(name, f"{size:,}")
    console.print(table)
    console.print(f"packed into {output}", soft_wrap=True, highlight=False)


def masks_apply(
    folder: Path,
    base: str,
    output: Path,
    plugin: list[Path] | Path | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Rebuild a pruned model from published masks and their base model, with every tensor identical bit for bit.

    Args:
        folder: Folder of published masks, as atv masks pack writes it.
        base: Model that the masks were made on: a folder, a hub id, "bundled" or "everyday". Any
            other model is rejected.
        output: Folder to write the pruned model to: new or empty.
    """
    report = atv.apply_masks(folder, output, base, trust_remote_code=trust_remote_code)
    message = f"{report.sparsity:.2%} of the target Linears are zero, as when they were packed; written to {output}"
    Console().print(message, soft_wrap=True, highlight=False)


def masks_diff(folders: list[str], output: Path | None = None) -> None:
    """Compare two sets of masks: how much the weights that they keep overlap, by block and kind of Linear.

    The overlap is the intersection over union of the two sets of kept weights; it is 1 for equal masks.

    Args:
        folders: Two folders with masks.safetensors (pruned models or published masks), or two such files.
        output: Folder for overlap.csv and overlap.png. Default: nothing is written.
    """
    if len(folders) != 2:
        raise ValueError(f"folders: expected two folders or files with masks, got {len(folders)}")
    difference = atv.diff_masks(*folders)
    console = Console()
    table = Table("block", *(str(kind) for kind in difference.table.columns))
    for block, row in difference.table.iterrows():
        table.add_row(str(block), *("" if value != value else f"{value:.3f}" for value in row))
    console.print(table)
    first_kept, second_kept = difference.kept
    console.print(
        f"mean overlap {difference.mean:.3f} (random masks: {difference.random:.3f}); {difference.same:.2%} of the "
        f"weights masked alike; kept: {first_kept:.2%} and {second_kept:.2%}",
        soft_wrap=True,
        highlight=False,
    )
    if output is not None:
        difference.write(output)
        console.print(f"overlap.csv and overlap.png are in {output}", soft_wrap=True, highlight=False)
