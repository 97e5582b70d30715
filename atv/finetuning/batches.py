"""The plan of which rank sees which sample when: determined before training, by the seed alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from atv.data.base import Picture
from atv.data.calibration_batches import PreparedSample, SampleDraw
from atv.data.conversations import encode_chats
from atv.data.labels import Chat, ended, has_answer, labelled
from atv.data.pictures import decode
from atv.finetuning.settings import Settings


class TrainingSample(NamedTuple):
    """A conversation that has been found readable; its pictures are decoded again when they are needed."""

    chat: Chat
    pictures: Sequence[Picture]


def require_answer(sample: PreparedSample) -> None:
    """Checks that a sample has something to learn.

    Raises:
        ValueError: if the assistant says nothing, or the length limit has cut all of it.
    """
    if not has_answer(sample.chat):
        raise ValueError("it has no assistant turn with text (max_length may have cut it), so nothing to learn")


class ConversationBatches(Dataset):
    """Batches that are read and encoded on access; samples drawn for their answers are also ended and labelled.

    Args:
        plan: numbers of the samples in each batch.
    """

    def __init__(
        self, samples: Sequence[TrainingSample], sample_draw: SampleDraw, plan: Sequence[Sequence[int]]
    ) -> None:
        self.samples, self.processor, self.plan = samples, sample_draw.processor, plan
        self.answers = sample_draw.answers

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> dict[str, Any]:
        chats, undecoded = zip(*(self.samples[sample_number] for sample_number in self.plan[index]), strict=True)
        pictures = [[decode(picture) for picture in sample_pictures] for sample_pictures in undecoded]
        if not self.answers:
            return encode_chats(self.processor, chats, pictures)
        return labelled(self.processor, [ended(self.processor, chat) for chat in chats], pictures)


@dataclass(frozen=True)
class Lessons:
    """The samples that were drawn: the first ``samples`` are for training, the rest is held out."""

    all_samples: Sequence[TrainingSample]
    sample_draw: SampleDraw
    samples: int

    @classmethod
    def draw(cls, sample_draw: SampleDraw, samples: int, seed: int) -> "Lessons":
        """Draws all samples and reads each once, so that broken ones are found before training.

        Raises:
            ValueError: as in the drawing of calibration samples.
        """
        with sample_draw.console.status("reading samples"):
            chats_and_pictures = (
                (sample.chat, sample.source.pictures[: len(sample.pictures)]) for sample in sample_draw.draw(seed)
            )
            return cls([TrainingSample(*sample) for sample in chats_and_pictures], sample_draw, samples)

    @property
    def validation(self) -> int:
        return len(self.all_samples) - self.samples

    def record(self) -> dict[str, Any]:
        """Returns the source and numbers of the samples, for the report."""
        return {"data": self.sample_draw.data.record(), "samples": self.samples, "validation": self.validation}

    def batches(self, settings: Settings, multiple: int) -> tuple[ConversationBatches, ConversationBatches | None]:
        """Returns the training batches, a multiple of ranks times accumulated batches, and the held-out batches."""
        pictured, size = [bool(sample.pictures) for sample in self.all_samples], settings.batch_size
        plan = shuffled(pictured[: self.samples], settings.epochs, size, multiple, settings.seed)
        full, partial = batched(range(self.samples, len(self.all_samples)), pictured, size)
        return self._batches_of(plan), self._batches_of(full + partial) if full + partial else None

    def _batches_of(self, plan: Sequence[Sequence[int]]) -> ConversationBatches:
        return ConversationBatches(self.all_samples, self.sample_draw, plan)


def batched(order: Sequence[int], pictured: Sequence[bool], size: int) -> tuple[list[list[int]], list[list[int]]]:
    """Returns full batches in the order in which they fill, and the rest.

    Either all samples of a batch have pictures, or none has.
    """
    full_batches: list[list[int]] = []
    partial_batches: dict[bool, list[int]] = {True: [], False: []}
    for sample_number in order:
        batch = partial_batches[pictured[sample_number]]
        batch.append(sample_number)
        if len(batch) == size:
            full_batches.append(list(batch))
            batch.clear()
    return full_batches, [batch for batch in partial_batches.values() if batch]


def shuffled(pictured: Sequence[bool], epochs: int, batch_size: int, multiple: int, seed: int) -> list[list[int]]:
    """Returns the batches of the whole run, with a separate order for each epoch.

    The batches of an epoch are full, and their number is a multiple of ``multiple`` (ranks times accumulated batches);
    the few remaining samples are left out of this epoch.

    Args:
        pictured: which samples have pictures.

    Raises:
        ValueError: if the samples do not fill one such multiple.
    """
    rng, plan = np.random.default_rng((seed, 1)), []
    for _ in range(epochs):
        full_batches, _ = batched(rng.permutation(len(pictured)).tolist(), pictured, batch_size)
        plan += full_batches[: len(full_batches) // multiple * multiple]
    if not plan:
        step_samples = batch_size * multiple
        raise ValueError(
            f"samples: {len(pictured)} do not fill one step of {step_samples} (batch size x accumulation x ranks)"
        )
    return plan


def loader(batches: Dataset, sampler: Sampler[int] | None, workers: int) -> DataLoader:
    """Returns a loader of the batches that the data set makes; ``workers`` processes make them ahead of time."""
    return DataLoader(batches, batch_size=None, sampler=sampler, num_workers=workers, collate_fn=_as_is)


def _as_is(batch: Any) -> Any:
    return batch
