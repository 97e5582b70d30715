"""Who sees which sample when: decided before training, by the seed alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from datasets import Dataset as Rows
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import ProcessorMixin

from atv.data.conversations import read_row
from atv.finetuning.labels import labelled


class ConversationBatches(Dataset):
    """Labelled batches, read and encoded when they are asked for.

    Args:
        rows: columns image and conversation.
        plan: the rows' indices of every batch.
    """

    def __init__(self, rows: Rows, processor: ProcessorMixin, plan: Sequence[Sequence[int]]) -> None:
        self.rows, self.processor, self.plan = rows, processor, plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> dict[str, Any]:
        drawn = [read_row(self.rows, row) for row in self.plan[index]]
        return labelled(self.processor, [row["conversation"] for row in drawn], [row["image"] for row in drawn])


def draw(count: int, samples: int, validation: int, seed: int) -> tuple[list[int], list[int]]:
    """Rows to train on and rows held out, of ``count``: the first ``samples`` are those that calibration draws.

    Raises:
        ValueError: when there are not so many.
    """
    if samples < 1 or validation < 0 or samples + validation > count:
        raise ValueError(
            f"samples: expected 1 to {count} (the data set's rows) with those for validation, "
            f"got {samples} and {validation} for validation"
        )
    drawn = np.random.default_rng(seed).permutation(count).tolist()
    return drawn[:samples], drawn[samples : samples + validation]


def shuffled(rows: Sequence[int], epochs: int, batch_size: int, multiple: int, seed: int) -> list[list[int]]:
    """The batches of the whole run: each epoch in an order of its own.

    Batches of an epoch are a multiple of ``multiple`` (ranks times accumulated batches); the few rows beyond that sit
    this epoch out.

    Raises:
        ValueError: when the rows do not fill one such multiple.
    """
    step = batch_size * multiple
    if len(rows) < step:
        raise ValueError(f"samples: {len(rows)} do not fill one step of {step} (batch size, accumulation and ranks)")
    rng = np.random.default_rng((seed, 1))
    orders = [rng.permutation(rows)[: len(rows) // step * step] for _ in range(epochs)]
    return np.concatenate(orders).reshape(-1, batch_size).tolist()


class Remaining(Sampler[int]):
    """This rank's batches from the first that was not trained on.

    Args:
        batches: of all ranks, a multiple of their number.
        done: how many this rank has had, asked for when training starts.
    """

    def __init__(self, batches: int, rank: int, ranks: int, done: Callable[[], int]) -> None:
        self.own, self.done = range(rank, batches, ranks), done

    def __len__(self) -> int:
        return len(self.own)

    def __iter__(self) -> Iterator[int]:
        return iter(self.own[self.done() :])


def loader(batches: Dataset, sampler: Sampler[int] | None, workers: int) -> DataLoader:
    """Batches are made by the data set; ``workers`` processes make them ahead of time."""
    return DataLoader(batches, batch_size=None, sampler=sampler, num_workers=workers, collate_fn=_as_is)


def _as_is(batch: Any) -> Any:
    return batch
