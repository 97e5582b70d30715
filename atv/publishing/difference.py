"""How two sets of masks differ."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from atv.figures.mask_overlap import by_block_and_linear, overlap_heatmap
from atv.figures.saving import save_figure
from atv.records.files import atomic, writable
from atv.records.masks import PackedMasks, load_masks, overlap, random_overlap
from atv.records.pruning_report import MASKS


@dataclass(frozen=True)
class MaskDifference:
    """What two sets of masks share.

    Attributes:
        names: what the two are called.
        iou: Linear or expert -> intersection over union of the weights that the two keep, in [0, 1].
        kept: share of all weights that each keeps.
        same: share of all weights of which both say the same.
    """

    names: tuple[str, str]
    iou: dict[str, float]
    kept: tuple[float, float]
    same: float

    @property
    def mean(self) -> float:
        """The IoU, mean over Linears and experts."""
        return sum(self.iou.values()) / len(self.iou)

    @property
    def random(self) -> float:
        """The IoU to expect of two random masks that keep as many."""
        return random_overlap(*self.kept)

    @property
    def table(self) -> pd.DataFrame:
        """IoU with a row a block and a column a kind of Linear."""
        return by_block_and_linear(self.iou)

    def write(self, folder: str | Path) -> None:
        """Writes overlap.csv and overlap.png."""
        target = writable(folder, "output")
        with atomic(target / "overlap.csv") as path:
            self.table.to_csv(path)
        save_figure(overlap_heatmap(self.iou, self.random, self.names), target / "overlap.png", dpi=120)


def diff_masks(first: str | Path, second: str | Path) -> MaskDifference:
    """Compares two sets of masks: mask files, or folders with masks.safetensors (pruned models, published masks).

    Raises:
        ValueError: for a path without masks, or masks of other weights.
    """
    a, b = _masks(Path(first)), _masks(Path(second))
    if not a.keys() & b.keys():
        raise ValueError(f"folders: {str(first)!r} and {str(second)!r} have masks of different weights")
    iou = overlap(a, b)
    total = sum(out * width for out, width in a.shapes.values())
    kept, differing = (1 - a.sparsity, 1 - b.sparsity), _differing(a, b) / total
    return MaskDifference((Path(first).name, Path(second).name), iou, kept, 1 - differing)


def _masks(path: Path) -> PackedMasks:
    file = path / MASKS if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"folders: no such file {str(file)!r}; name a mask file, or a folder with {MASKS}")
    return load_masks(file)


def _differing(a: PackedMasks, b: PackedMasks) -> int:
    """How many weights one of two sets of masks keeps alone; padding is zero in both."""
    second = b.packed
    return sum(int(np.bitwise_count(bits.numpy() ^ second[name].numpy()).sum()) for name, bits in a.packed.items())
