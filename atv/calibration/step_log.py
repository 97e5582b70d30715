"""Durations and errors of the steps that prune a block, for its report."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from atv.criteria import PoolStatistics, Pruned
from atv.runtime.timing import now


class StepLog:
    """Durations and errors of the steps on a block: ``seconds`` by step, and by step the ``errors`` of the Linears."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.errors: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        start_time = now()
        yield
        self.seconds[step] += now() - start_time

    def record_error(self, step: str, weight: Tensor, pruned: Pruned, pool: PoolStatistics) -> None:
        """Records the share of a Linear's squared output that is lost after a step.

        Nothing is recorded if X^T X is unknown or the bias moved.
        """
        if pool.gram is not None and pruned.shift is None:
            self.errors[step].append(pool.share_lost(weight, pruned.applied_to(weight)))

    def mean_errors(self) -> dict[str, float]:
        """Returns the mean error over Linears, by step."""
        return {step: sum(errors) / len(errors) for step, errors in self.errors.items()}
