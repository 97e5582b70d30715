"""Swaps of pruned and kept weights that lower a row's error."""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from atv.criteria import PoolStatistics
from atv.plugins import at_least
from atv.refinement.base import Refinement

# Elements of the largest temporary tensor: as many as fit a CPU's cache, and as many as keep a GPU busy.
_ENTRIES = {"cpu": 1 << 19, "cuda": 1 << 24}


class _Swap(NamedTuple):
    """For each row, the change of the error if ``back`` is restored and ``out`` pruned, and the two columns (rows,)."""

    change: Tensor
    back: Tensor
    out: Tensor


class SparseSwaps(Refinement):
    """Repeatedly swaps the pruned and the kept weight of a row that lower its error most (arXiv 2512.10922).

    The error of a row is (w - w') G (w - w')^T. With c = G ((1 - m) o w), putting a pruned weight u back and pruning a
    kept weight p changes it by w_u^2 G_uu - 2 w_u c_u + w_p^2 G_pp + 2 w_p c_p - 2 w_u w_p G_up. A row is finished when
    no swap under consideration lowers its error. The error never rises, and rows and N:M groups keep their counts.

    Args:
        swaps: maximum number of swaps per row.
        candidates: number of pruned weights, those that would lower the error most by themselves, to combine with every
            kept weight, and of kept weights, those that would raise it least, to combine with every pruned one. If it
            equals the number of weights in a row, the best swap of all is found. N:M groups are searched completely.

    Raises:
        ValueError: if an argument is below 1.
    """

    needs_gram = True

    def __init__(self, swaps: int = 100, candidates: int = 8) -> None:
        at_least(1, swaps=swaps, candidates=candidates)
        self.swaps, self.candidates = swaps, candidates

    def refine(self, weight: Tensor, mask: Tensor, pool: PoolStatistics, width: int) -> Tensor:
        gram, dense = pool.gathered("gram", self).to(weight.device), weight.double()
        columns = weight.shape[1]
        a_row = columns * (min(self.candidates, columns) if width == columns else width)
        rows = max(_ENTRIES.get(weight.device.type, _ENTRIES["cuda"]) // a_row, 1)
        parts = zip(dense.split(rows), mask.to(weight.device).split(rows), strict=True)
        return torch.cat([self._swapped(part, kept.clone(), gram, width) for part, kept in parts])

    def _swapped(self, weight: Tensor, kept: Tensor, gram: Tensor, width: int) -> Tensor:
        """Returns the new masks of some rows."""
        own, pull = weight.square() * gram.diagonal(), (weight * ~kept) @ gram
        # Smaller changes are rounding errors of sums of as many float64 products as a row has weights.
        least = 1e-12 * (weight * (weight @ gram)).sum(1).abs()
        found, left = kept.clone(), torch.arange(len(weight), device=weight.device)
        for _ in range(self.swaps):
            cross = 2 * weight * pull
            back = torch.where(kept, torch.inf, own - cross)
            out = torch.where(kept, own + cross, torch.inf)
            grouped = width < weight.shape[1]
            best = _within(weight, back, out, gram, width) if grouped else self._across(weight, back, out, gram)
            lower = best.change < -least
            found[left[~lower]] = kept[~lower]
            weight, kept, own, pull, left, least, u, p = (
                part[lower] for part in (weight, kept, own, pull, left, least, best.back, best.out)
            )
            if not len(left):
                return found
            row = torch.arange(len(left), device=left.device)
            kept[row, u], kept[row, p] = True, False
            pull += weight[row, p, None] * gram[p] - weight[row, u, None] * gram[u]
        found[left] = kept
        return found

    def _across(self, weight: Tensor, back: Tensor, out: Tensor, gram: Tensor) -> _Swap:
        """Returns the best swap of each row between its candidates and all weights of the opposite kind."""
        count, columns = min(self.candidates, weight.shape[1]), weight.shape[1]
        sides = []
        for mine, others in ((back, out), (out, back)):
            cost, chosen = mine.topk(count, dim=1, largest=False)
            change = gram[chosen].mul_(weight[:, None, :]).mul_(-2 * weight.gather(1, chosen)[:, :, None])
            change += others[:, None, :]
            change += cost[:, :, None]
            least, place = change.flatten(1).min(1)
            candidate = chosen.gather(1, (place // columns)[:, None])[:, 0]
            sides.append((least, candidate, place % columns))
        (change, back_in, taken), (other, taken_too, back_too) = sides
        first = change <= other
        return _Swap(
            torch.where(first, change, other),
            torch.where(first, back_in, back_too),
            torch.where(first, taken, taken_too),
        )


def _within(weight: Tensor, back: Tensor, out: Tensor, gram: Tensor, width: int) -> _Swap:
    """Returns the best swap of each row between two weights of the same group of ``width`` inputs."""
    groups = weight.shape[1] // width
    index = torch.arange(weight.shape[1], device=gram.device).view(groups, width)
    inside = gram[index[:, :, None], index[:, None, :]]
    w, back, out = (rearrange(part, "row (g m) -> row g m", m=width) for part in (weight, back, out))
    change = back[..., :, None] + out[..., None, :] - 2 * w[..., :, None] * w[..., None, :] * inside
    least, place = change.flatten(1).min(1)
    start = place // width**2 * width
    return _Swap(least, start + place // width % width, start + place % width)
