"""Draws and encodes the calibration samples of a seed; samples that cannot be read are named and replaced."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, overload

from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from transformers import ProcessorMixin

from atv.data.base import CalibrationData, Conversation
from atv.data.chat_template import require_chat_template
from atv.data.conversations import encode_chats, messages
from atv.data.labels import labelled
from atv.data.pictures import decode
from atv.data.shortening import shortened
from atv.data.sources import load_calibration
from atv.data.turns import pictures_in, turns_of
from atv.data.wording import reason, short
from atv.plugins import at_least

MAX_BROKEN = 0.05


class PreparedSample(NamedTuple):
    """A conversation as chat messages for the processor, with decoded pictures; ``source`` has them undecoded."""

    id: str
    chat: list[dict[str, Any]]
    pictures: list[Image.Image]
    source: Conversation


class CalibrationBatches(Sequence[dict[str, Any]]):
    """Calibration samples as batches of the processor's tensors, drawn and encoded on first access.

    Errors in a pruning run's options therefore appear before any sample is read.
    """

    def __init__(self, drawing: Callable[[], "SampleDraw"], seed: int, batch_size: int) -> None:
        self._start_draw, self._seed, self._batch_size = drawing, seed, batch_size

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        return self._encoded[0][index]

    def __len__(self) -> int:
        return len(self._encoded[0])

    @property
    def record(self) -> dict[str, Any]:
        """The samples, in order, as a report records them."""
        _, sample_draw = self._encoded
        options = {"data": sample_draw.data.record(), "seed": self._seed, "max_length": sample_draw.max_length}
        return options | sample_draw.outcome()

    @cached_property
    def _encoded(self) -> tuple[list[dict[str, Any]], "SampleDraw"]:
        # Starts from scratch, in case an earlier attempt failed halfway.
        sample_draw, batches = self._start_draw(), []
        console = sample_draw.console
        with Progress(console=console, transient=True, disable=console.quiet or not console.is_terminal) as progress:
            ready_samples = progress.track(
                sample_draw.draw(self._seed), sample_draw.samples, description="calibration samples"
            )
            while chunk := list(islice(ready_samples, self._batch_size)):
                for group in (
                    [sample for sample in chunk if sample.pictures],
                    [sample for sample in chunk if not sample.pictures],
                ):
                    if group:
                        ids, chats, pictures, _ = zip(*group, strict=True)
                        sample_draw.ids += ids
                        batches.append(_encode_together(sample_draw, ids, chats, pictures))
        return batches, sample_draw


def check_draw(
    data: CalibrationData, samples: int, seed: int = 0, batch_size: int = 8, max_length: int | None = None
) -> None:
    """Checks, before a model is loaded, that the data can provide what is asked for.

    Raises:
        ValueError: for fewer than one sample, more than the data have, or another number out of range.
    """
    require_samples(data, samples)
    at_least(1, batch_size=batch_size, max_length=max_length)
    at_least(0, seed=seed)


def require_samples(data: CalibrationData, samples: int, validation: int = 0) -> None:
    """Checks that the data have enough samples, including those for validation, if their number is known.

    Raises:
        ValueError: if they do not.
    """
    at_least(0, validation=validation)
    if samples < 1 or (isinstance(data, Sized) and samples + validation > len(data)):
        allowed = f"1 to {len(data)} (the data's samples)" if isinstance(data, Sized) else "at least 1"
        validation_text = f", and {validation} for validation" if validation else ""
        raise ValueError(f"samples: expected {allowed}, got {samples}{validation_text}")


def calibration_batches(
    processor: ProcessorMixin,
    data: str | Path | CalibrationData,
    samples: int = 128,
    seed: int = 0,
    batch_size: int = 8,
    max_length: int | None = None,
    answers: bool = False,
) -> CalibrationBatches:
    """Draws ``samples`` conversations in the order of the seed and encodes them in batches, the same for every method.

    A sample that cannot be read, or that the template, tokenizer or processor rejects, is named, and the next one in
    the seed's order takes its place. Either all samples of a batch have pictures or none has. Only the first rank shows
    a progress bar and names broken samples.

    Args:
        data: "bundled", "everyday", a file, a folder, a hub id, a class name or dotted path, or an instance.
        max_length: maximum length of a sample in tokens, including visual tokens; longer samples lose text from
            their end.
        answers: whether batches mark the tokens of answers in ``labels``, for rules that need them.

    Raises:
        ValueError: if the data do not exist or hold fewer samples than asked for, or the processor has no chat
            template; also on first access to the batches, if more than 5% of the samples are broken.
    """
    require_chat_template(processor)
    if not isinstance(data, (str, Path, CalibrationData)):
        raise ValueError(
            f"calibration: expected a name, a path or a CalibrationData, got {type(data).__name__}; wrap your "
            "own conversations in a small subclass of atv.data.CalibrationData"
        )
    # An instance is used as it is: a command that names one has already checked it.
    source = data if isinstance(data, CalibrationData) else load_calibration(str(data))
    check_draw(source, samples, seed, batch_size, max_length)
    console = Console(stderr=True, quiet=getattr(rank_zero_only, "rank", 0) != 0)
    start_draw = partial(SampleDraw, processor, source, samples, max_length, console, answers=answers)
    return CalibrationBatches(start_draw, seed, batch_size)


def _encode_together(
    sample_draw: "SampleDraw",
    ids: Sequence[str],
    chats: Sequence[list[dict[str, Any]]],
    pictures: Sequence[list[Image.Image]],
) -> dict[str, Any]:
    """Encodes a batch of samples that were each accepted alone."""
    try:
        return (labelled if sample_draw.answers else encode_chats)(sample_draw.processor, chats, pictures)
    except Exception as error:  # Padding and stacking can make processors raise anything.
        if str(error).startswith(("model: ", "processor: ")):
            raise
        id_list = short(", ".join(map(repr, ids)))
        raise ValueError(
            f"calibration: {id_list} cannot be encoded together ({reason(error)}); use --batch_size 1"
        ) from error


class SampleDraw:
    """Prepares conversations one by one, and keeps count of those drawn, shortened and broken.

    Args:
        require: raises ValueError for a sample that does not suit its purpose.
        answers: whether the batches are labelled.
    """

    def __init__(
        self,
        processor: ProcessorMixin,
        data: CalibrationData,
        samples: int,
        max_length: int | None,
        console: Console,
        require: Callable[[PreparedSample], None] | None = None,
        answers: bool = False,
    ) -> None:
        self.processor, self.data, self.samples = processor, data, samples
        self.max_length, self.console, self.require = max_length, console, require
        self.answers = answers
        self.ids: list[str] = []
        self.source_counts: Counter[int] = Counter()
        self.broken: list[dict[str, str]] = []
        self.drawn_count = self.shortened = 0

    def draw(self, seed: int) -> Iterator[PreparedSample]:
        for conversation in self.data.draw(seed):
            try:
                sample = self._prepare(conversation)
            except Exception as error:  # Templates and processors can raise anything.
                self._note_broken(short(conversation.id), reason(error))
                continue
            self.drawn_count += 1
            if conversation.part is not None:
                self.source_counts[conversation.part] += 1
            yield sample
            if self.drawn_count == self.samples:
                return
        drawn_counts = f"{self.drawn_count} samples and {len(self.broken)} broken ones"
        raise ValueError(f"samples: {self.samples} were requested, but the data have {drawn_counts}")

    def outcome(self) -> dict[str, Any]:
        """Returns the samples' ids, how many were shortened, and the broken ones; for a mixture also source counts."""
        counts = [self.source_counts[source_index] for source_index in range(max(self.source_counts, default=-1) + 1)]
        return {
            "ids": self.ids,
            **({"counts": counts} if counts else {}),
            "shortened": self.shortened,
            "broken": self.broken,
        }

    def _prepare(self, conversation: Conversation) -> PreparedSample:
        source = readable(conversation)
        pictures = [decode(picture) for picture in source.pictures]
        chat = messages(source.turns, len(pictures))
        kept_chat, kept_pictures = (chat, pictures)
        if self.max_length is not None:
            kept_chat, kept_pictures = shortened(self.processor, chat, pictures, self.max_length)
        # Encoded alone, so that a sample that the template, tokenizer or processor rejects can be named.
        if not encode_chats(self.processor, [kept_chat], [kept_pictures])["input_ids"].numel():
            raise ValueError("the chat template writes nothing for it")
        sample = PreparedSample(source.id, kept_chat, kept_pictures, source)
        if self.require is not None:
            self.require(sample)
        self.shortened += kept_chat != chat
        return sample

    def _note_broken(self, id: str, cause: str) -> None:
        self.broken.append({"id": id, "reason": cause})
        if len(self.broken) > MAX_BROKEN * self.samples:
            raise ValueError(
                f"calibration: {len(self.broken)} of {self.samples} samples cannot be used, more than "
                f"{MAX_BROKEN:.0%}; the last one: {id!r}: {cause}"
            )
        message = f"calibration: {id!r} cannot be used ({cause}); the next one takes its place"
        # Brackets in the text belong to the sample and are not markup.
        self.console.print(message, markup=False, soft_wrap=True)


def readable(conversation: Conversation) -> Conversation:
    """Returns the conversation with its turns as a list and, if it has no pictures, with those inside its turns.

    Raises:
        ValueError: if its source could not read the conversation, or it has no turns.
    """
    if conversation.fault is not None:
        raise ValueError(conversation.fault)
    turns = turns_of(conversation.turns)
    pictures = list(conversation.pictures) or pictures_in(turns)
    return replace(conversation, id=short(conversation.id), turns=turns, pictures=pictures)
