"""What the steps of pruning a block took and left, for its report."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from atv.criteria import PoolStatistics, Pruned
from atv.runtime.timing import now


class StepLog:
    """Seconds and results of the steps on a block: ``seconds`` of each, and ``errors`` by Linear after each."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.errors: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        started = now()
        yield
        self.seconds[step] += now() - started

    def lost(self, step: str, weight: Tensor, made: Pruned, pool: PoolStatistics) -> None:
        """Notes the share of a Linear's squared output that is lost after a step, where X^T X tells it: not with a bias
        that moved."""
        if pool.gram is not None and made.shift is None:
            self.errors[step].append(pool.share_lost(weight, made.applied_to(weight)))

    def mean_errors(self) -> dict[str, float]:
        """The mean over Linears, by step."""
        return {step: sum(errors) / len(errors) for step, errors in self.errors.items()}
