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
        entries_per_row = columns * (min(self.candidates, columns) if width == columns else width)
        rows = max(_ENTRIES.get(weight.device.type, _ENTRIES["cuda"]) // entries_per_row, 1)
        chunks = zip(dense.split(rows), mask.to(weight.device).split(rows), strict=True)
        return torch.cat([self._swap_rows(chunk, kept_mask.clone(), gram, width) for chunk, kept_mask in chunks])

    def _swap_rows(self, weight: Tensor, kept_mask: Tensor, gram: Tensor, width: int) -> Tensor:
        """Returns the new masks of some rows."""
        own_error, correlation = weight.square() * gram.diagonal(), (weight * ~kept_mask) @ gram
        # Smaller changes are rounding errors of sums of as many float64 products as a row has weights.
        threshold = 1e-12 * (weight * (weight @ gram)).sum(1).abs()
        new_mask, active = kept_mask.clone(), torch.arange(len(weight), device=weight.device)
        for _ in range(self.swaps):
            cross = 2 * weight * correlation
            back = torch.where(kept_mask, torch.inf, own_error - cross)
            out = torch.where(kept_mask, own_error + cross, torch.inf)
            grouped = width < weight.shape[1]
            best_swap = (
                _best_swap_in_groups(weight, back, out, gram, width)
                if grouped
                else self._best_swap_in_rows(weight, back, out, gram)
            )
            improves = best_swap.change < -threshold
            new_mask[active[~improves]] = kept_mask[~improves]
            weight, kept_mask, own_error, correlation, active, threshold, u, p = (
                state[improves]
                for state in (
                    weight,
                    kept_mask,
                    own_error,
                    correlation,
                    active,
                    threshold,
                    best_swap.back,
                    best_swap.out,
                )
            )
            if not len(active):
                return new_mask
            row = torch.arange(len(active), device=active.device)
            kept_mask[row, u], kept_mask[row, p] = True, False
            correlation += weight[row, p, None] * gram[p] - weight[row, u, None] * gram[u]
        new_mask[active] = kept_mask
        return new_mask

    def _best_swap_in_rows(self, weight: Tensor, back: Tensor, out: Tensor, gram: Tensor) -> _Swap:
        """Returns the best swap of each row between its candidates and all weights of the opposite kind."""
        count, columns = min(self.candidates, weight.shape[1]), weight.shape[1]
        sides = []
        for own_cost, other_cost in ((back, out), (out, back)):
            cost, candidates = own_cost.topk(count, dim=1, largest=False)
            change = gram[candidates].mul_(weight[:, None, :]).mul_(-2 * weight.gather(1, candidates)[:, :, None])
            change += other_cost[:, None, :]
            change += cost[:, :, None]
            lowest_change, flat_index = change.flatten(1).min(1)
            candidate = candidates.gather(1, (flat_index // columns)[:, None])[:, 0]
            sides.append((lowest_change, candidate, flat_index % columns))
        (change, back_candidate, out_partner), (other_change, out_candidate, back_partner) = sides
        first_is_better = change <= other_change
        return _Swap(
            torch.where(first_is_better, change, other_change),
            torch.where(first_is_better, back_candidate, back_partner),
            torch.where(first_is_better, out_partner, out_candidate),
        )


def _best_swap_in_groups(weight: Tensor, back: Tensor, out: Tensor, gram: Tensor, width: int) -> _Swap:
    """Returns the best swap of each row between two weights of the same group of ``width`` inputs."""
    groups = weight.shape[1] // width
    index = torch.arange(weight.shape[1], device=gram.device).view(groups, width)
    group_gram = gram[index[:, :, None], index[:, None, :]]
    w, back, out = (rearrange(rows, "row (g m) -> row g m", m=width) for rows in (weight, back, out))
    change = back[..., :, None] + out[..., None, :] - 2 * w[..., :, None] * w[..., None, :] * group_gram
    lowest_change, flat_index = change.flatten(1).min(1)
    start = flat_index // width**2 * width
    return _Swap(lowest_change, start + flat_index // width % width, start + flat_index % width)
