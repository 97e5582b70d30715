"""Who sees which sample when: decided before training, by the seed alone."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import ProcessorMixin

from atv.data.base import Picture
from atv.data.calibration_batches import Drawing, Ready
from atv.data.labels import Chat, has_answer, labelled
from atv.data.pictures import decode


class TrainingSample(NamedTuple):
    """A conversation that was found readable; its pictures are decoded again when they are needed."""

    chat: Chat
    pictures: Sequence[Picture]


def drawn(drawing: Drawing, seed: int) -> list[TrainingSample]:
    """All samples of a drawing, each read once to find broken ones before training does.

    Raises:
        ValueError: as calibration's drawing does.
    """
    return [TrainingSample(ready.chat, ready.source.pictures[: len(ready.pictures)]) for ready in drawing.draw(seed)]


def require_answer(ready: Ready) -> None:
    """Checks that there is something to learn.

    Raises:
        ValueError: for a sample without a turn of the assistant.
    """
    if not has_answer(ready.chat):
        raise ValueError("it has no turn of the assistant, so there is nothing to learn")


class ConversationBatches(Dataset):
    """Labelled batches, read and encoded when they are asked for; ``plan`` has the samples' numbers of each."""

    def __init__(
        self, samples: Sequence[TrainingSample], processor: ProcessorMixin, plan: Sequence[Sequence[int]]
    ) -> None:
        self.samples, self.processor, self.plan = samples, processor, plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> dict[str, Any]:
        chats, pictures = zip(*(self.samples[number] for number in self.plan[index]), strict=True)
        return labelled(self.processor, chats, [[decode(picture) for picture in of_sample] for of_sample in pictures])


def batched(order: Sequence[int], pictured: Sequence[bool], size: int) -> tuple[list[list[int]], list[list[int]]]:
    """Whole batches in the order in which they fill, and what is left over; a batch has pictures in all or none."""
    whole: list[list[int]] = []
    filling: dict[bool, list[int]] = {True: [], False: []}
    for number in order:
        batch = filling[pictured[number]]
        batch.append(number)
        if len(batch) == size:
            whole.append(list(batch))
            batch.clear()
    return whole, [batch for batch in filling.values() if batch]


def shuffled(pictured: Sequence[bool], epochs: int, batch_size: int, multiple: int, seed: int) -> list[list[int]]:
    """The batches of the whole run: each epoch in an order of its own.

    Batches of an epoch are whole, and a multiple of ``multiple`` (ranks times accumulated batches); the few samples
    beyond that sit this epoch out.

    Args:
        pictured: which samples have pictures.

    Raises:
        ValueError: when the samples do not fill one such multiple.
    """
    rng, plan = np.random.default_rng((seed, 1)), []
    for _ in range(epochs):
        whole, _ = batched(rng.permutation(len(pictured)).tolist(), pictured, batch_size)
        plan += whole[: len(whole) // multiple * multiple]
    if not plan:
        step = batch_size * multiple
        raise ValueError(f"samples: {len(pictured)} do not fill one step of {step} (batch size, accumulation, ranks)")
    return plan


def loader(batches: Dataset, sampler: Sampler[int] | None, workers: int) -> DataLoader:
    """Batches are made by the data set; ``workers`` processes make them ahead of time."""
    return DataLoader(batches, batch_size=None, sampler=sampler, num_workers=workers, collate_fn=_as_is)


def _as_is(batch: Any) -> Any:
    return batch
