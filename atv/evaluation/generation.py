"""Greedy answers through Lightning's prediction loop."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cache, cached_property, partial
from typing import Any

import lightning as L
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel, ProcessorMixin

from atv.evaluation import metrics
from atv.evaluation.decoding import decodes, greedy, whole_prompts
from atv.evaluation.questions import MAX_NEW_TOKENS, Prompts, QuestionBatch
from atv.evaluation.sharing import Sharing, SharingTrial
from atv.model.batch import cast_floats
from atv.model.positions import require_own_positions
from atv.plugins import find
from atv.runtime.preemption import NOTHING, StopBetweenBatches
from atv.runtime.ranks import failing_together, gathered
from atv.runtime.trainer import quiet_trainer, running, staying_on_its_device

Question = Mapping[str, Any]
COLUMNS = (
    *("task", "metric", "question_id", "group", "category", "question", "options", "answer", "answers"),
    *("seen", "picture", "prediction", "read", "credit", "ended"),
)


class GreedyAnswers(L.LightningModule):
    """Generates the answer to each prompt of a left-padded batch, with a KV cache.

    The prefix that all questions about a picture share is run only once if this is certain to change nothing. A step
    returns each question's own fields and "ended": whether the model ended its answer before it was cut off.
    ``built_alike`` holds what is known about models that are built like this one; see ``Sharing``.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        max_new_tokens: int,
        built_alike: dict[Hashable, SharingTrial] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.processor, self.max_new_tokens = model, processor, max_new_tokens
        self._built_alike = built_alike

    @cached_property
    def sharing(self) -> Sharing:
        """What is known about sharing for this model; created at the first batch, on the device that answers."""
        return Sharing(self.model, self.generate, self.max_new_tokens, self._built_alike)

    def transfer_batch_to_device(
        self, batch: QuestionBatch | None, device: torch.device, dataloader_idx: int
    ) -> QuestionBatch | None:
        # Lightning's own transfer cannot rebuild the model outputs that stand in for pixels.
        if batch is None:
            return None
        moved = partial(cast_floats, dtype=self.model.dtype, device=device)
        pictures = batch.pictures and batch.pictures._replace(inputs=moved(batch.pictures.inputs))
        return batch._replace(inputs=moved(batch.inputs), pictures=pictures)

    def predict_step(self, batch: QuestionBatch | None, batch_idx: int) -> list[tuple[Question, str]]:
        if batch is None:
            return []
        pictures = batch.pictures
        prefill, inputs = self.sharing.prefill(batch.inputs, pictures) if pictures else (whole_prompts, batch.inputs)
        generated = self.generate(inputs, greedy(prefill) if decodes(self.model) else None)
        new_tokens = generated[:, inputs["input_ids"].shape[1] :]
        questions = [
            {**question, "ended": ended}
            for question, ended in zip(batch.questions, self._ended(new_tokens), strict=True)
        ]
        return list(zip(questions, self.processor.batch_decode(new_tokens, skip_special_tokens=True), strict=True))

    def _ended(self, new_tokens: Tensor) -> list[bool]:
        """Returns, for each row of new tokens, whether it contains an end-of-sequence token."""
        generation_config: Any = self.model.generation_config
        eos_token_id = generation_config.eos_token_id
        eos_ids = (
            [] if eos_token_id is None else [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id)
        )
        return torch.isin(new_tokens, new_tokens.new_tensor(eos_ids)).any(dim=1).tolist()

    def generate(self, inputs: Mapping[str, Any], loop: Callable[..., Tensor] | None) -> Tensor:
        """Runs transformers' generation on the prompts with a decoding loop; None uses its own."""
        require_own_positions(self.model, inputs, decoding=True)
        generate: Any = self.model.generate
        # The only setting of a generation config that needs the tokenizer.
        stop_strings = getattr(self.model.generation_config, "stop_strings", None)
        tokenizer_argument = {"tokenizer": self.processor.tokenizer} if stop_strings else {}
        return generate(
            **inputs,
            do_sample=False,
            num_beams=1,
            num_return_sequences=1,
            return_dict_in_generate=False,
            use_cache=True,
            max_new_tokens=self.max_new_tokens,
            pad_token_id=self.processor.tokenizer.pad_token_id,
            custom_generate=loop,
            **tokenizer_argument,
        )


class _Steps(Dataset[QuestionBatch | None]):
    """Batches, encoded when their turn comes; None for ranks that would have none, because each must take a step."""

    def __init__(self, batches: Sequence[Prompts], ranks: int) -> None:
        self.batches, self.ranks = batches, ranks

    def __len__(self) -> int:
        return max(len(self.batches), self.ranks)

    def __getitem__(self, index: int) -> QuestionBatch | None:
        return self.batches[index].askable() if index < len(self.batches) else None


def predict(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    batches: Sequence[Prompts],
    max_new_tokens: int,
    trainer: L.Trainer,
    *callbacks: L.Callback,
    kept_note: str = NOTHING,
    built_alike: dict[Hashable, SharingTrial] | None = None,
) -> list[tuple[Question, str]]:
    """Returns all questions with their answers, in no particular order, on every rank; ranks divide up the batches.

    Args:
        kept_note: what is kept of the answers if the run is stopped, for the message.
        built_alike: what is known about models asked before, for models that differ only in values; see ``Sharing``.

    Raises:
        Preempted: after the current batch, if SIGTERM was sent.
    """
    module, steps = GreedyAnswers(model, processor, max_new_tokens, built_alike), _Steps(batches, trainer.world_size)
    stop = StopBetweenBatches(kept_note)
    with failing_together(trainer), running(trainer, *callbacks, stop), staying_on_its_device(model):
        own_answers: Any = trainer.predict(module, DataLoader(steps, batch_size=None, collate_fn=lambda step: step))
        return [pair for rank_answers in gathered(own_answers or []) for step in rank_answers for pair in step]


def scored_answers(predicted: Iterable[tuple[Question, str]]) -> pd.DataFrame:
    """Returns one row per question, sorted by question_id, so that every model has the same question in the same row.

    The columns are the question's fields, plus prediction, read (the answer as the score reads it; None if it cannot)
    and credit (0 to 1). A question with a ``fault`` was not asked and counts as wrong.
    """
    score_of = cache(lambda name: find(name, metrics.GroupedScore, "metric")())
    rows = []
    for question, text in predicted:
        score = score_of(question["metric"])
        marks = {"read": score.read(text, question), "credit": score.credit(text, question)}
        if question.get("fault"):
            marks = {"read": None, "credit": 0.0}
        rows.append({**question, "prediction": text} | marks)
    return pd.DataFrame(rows).sort_values("question_id", ignore_index=True)


def answer(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    batches: Sequence[Prompts],
    max_new_tokens: int = MAX_NEW_TOKENS,
    trainer: L.Trainer | None = None,
) -> pd.DataFrame:
    """Answers and scores every question.

    Returns:
        The rows of ``scored`` with the columns ``COLUMNS``.
    """
    predicted = predict(model, processor, batches, max_new_tokens, trainer or quiet_trainer())
    return scored_answers(predicted)[list(COLUMNS)]
