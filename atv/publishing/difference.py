"""Compares two sets of masks."""

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
    """How far two sets of masks agree.

    Attributes:
        names: names of the two sets.
        iou: Linear or expert -> intersection over union of the weights that the two sets keep, in [0, 1].
        kept: share of all weights that each set keeps.
        same: share of all weights that both sets keep or both prune.
    """

    names: tuple[str, str]
    iou: dict[str, float]
    kept: tuple[float, float]
    same: float

    @property
    def mean(self) -> float:
        """Mean IoU over Linears and experts."""
        return sum(self.iou.values()) / len(self.iou)

    @property
    def random(self) -> float:
        """Expected IoU of two random masks that keep as many weights."""
        return random_overlap(*self.kept)

    @property
    def table(self) -> pd.DataFrame:
        """IoU as a table, with one row per block and one column per kind of Linear."""
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
        ValueError: if a path has no masks, or the two sets are masks of different weights.
    """
    a, b = _read_masks(Path(first)), _read_masks(Path(second))
    if not a.keys() & b.keys():
        raise ValueError(f"folders: {str(first)!r} and {str(second)!r} have masks of different weights")
    iou = overlap(a, b)
    total = sum(out * width for out, width in a.shapes.values())
    kept_shares, differing_share = (1 - a.sparsity, 1 - b.sparsity), _count_differing(a, b) / total
    return MaskDifference((Path(first).name, Path(second).name), iou, kept_shares, 1 - differing_share)


def _read_masks(path: Path) -> PackedMasks:
    file = path / MASKS if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"folders: no such file {str(file)!r}; name a mask file, or a folder with {MASKS}")
    return load_masks(file)


def _count_differing(a: PackedMasks, b: PackedMasks) -> int:
    """Counts the weights that only one of two sets of masks keeps; padding is zero in both."""
    packed_b = b.packed
    return sum(int(np.bitwise_count(bits.numpy() ^ packed_b[name].numpy()).sum()) for name, bits in a.packed.items())
