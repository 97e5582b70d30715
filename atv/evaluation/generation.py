"""Greedy answers through Lightning's prediction loop."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import pandas as pd
import torch
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, ProcessorMixin

from atv.evaluation import metrics
from atv.evaluation.questions import QuestionBatch
from atv.plugins import find
from atv.ranks import gathered, padded, together
from atv.trainer import quiet_trainer


class GreedyAnswers(L.LightningModule):
    """Generates the answer to each prompt of a left-padded batch."""

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, max_new_tokens: int) -> None:
        super().__init__()
        self.model, self.processor, self.max_new_tokens = model, processor, max_new_tokens

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        # Lightning's own transfer cannot rebuild the model outputs that stand in for pixels.
        return tree_map(lambda value: value.to(device) if isinstance(value, Tensor) else value, batch)

    def predict_step(self, batch: tuple[int, dict[str, Any]] | None, batch_idx: int) -> tuple[int, list[str]] | None:
        if batch is None:
            return None
        index, inputs = batch
        generate: Any = self.model.generate
        made = generate(
            **inputs,
            do_sample=False,
            max_new_tokens=self.max_new_tokens,
            pad_token_id=self.processor.tokenizer.pad_token_id,
        )
        new = made[:, inputs["input_ids"].shape[1] :]
        return index, self.processor.batch_decode(new, skip_special_tokens=True)


def answer(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    batches: Sequence[QuestionBatch],
    max_new_tokens: int = 16,
    trainer: L.Trainer | None = None,
) -> pd.DataFrame:
    """Answers and scores every question; the ranks share the batches out, and each has all answers in the end.

    Returns:
        One row a question: task, metric, question_id, group, category, answer, prediction, credit (0 to 1), sorted by
        question_id, so that equal questions stand in equal rows for every model.
    """
    trainer = trainer or quiet_trainer()
    module = GreedyAnswers(model, processor, max_new_tokens)
    prompts: Any = padded([(index, batch.inputs) for index, batch in enumerate(batches)], trainer)
    with together(trainer):
        own = trainer.predict(module, DataLoader(prompts, batch_size=None, collate_fn=lambda batch: batch))
        predicted: list[Any] = [step for steps in gathered(own or []) for step in steps if step is not None]
    scores = {name: find(name, metrics.GroupedScore, "metric")() for name in _metrics(batches)}  # type: ignore[type-abstract]
    rows = []
    for index, texts in predicted:
        for question, text in zip(batches[index].questions, texts, strict=True):
            kept = {key: question[key] for key in ("task", "metric", "question_id", "group", "category", "answer")}
            rows.append(kept | {"prediction": text, "credit": scores[question["metric"]].credit(text, question)})
    return pd.DataFrame(rows).sort_values("question_id", ignore_index=True)


def _metrics(batches: Sequence[QuestionBatch]) -> set[str]:
    return {question["metric"] for batch in batches for question in batch.questions}
