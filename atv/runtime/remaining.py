"""Where a killed training goes on in its data: Lightning itself would begin anew with the first batch."""

from collections.abc import Callable, Iterator

from torch.utils.data import Sampler


class Remaining(Sampler[int]):
    """This rank's batches from the first that was not trained on.

    Args:
        batches: of all ranks, a multiple of their number.
        done: how many this rank has had, asked for when training starts.
    """

    def __init__(self, batches: int, rank: int, ranks: int, done: Callable[[], int]) -> None:
        self.mine, self.done = range(rank, batches, ranks), done

    def __len__(self) -> int:
        return len(self.mine)

    def __iter__(self) -> Iterator[int]:
        return iter(self.mine[self.done() :])
