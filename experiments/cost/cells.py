"""Time of whole ablation cells, pruning and questions, against the forward passes that they cannot avoid."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from atv.ablation import Bench, Cell
from atv.ablation.bench import PromptSet
from atv.ablation.measuring import prune_and_ask
from atv.api import Pathway
from atv.data.sources import load_calibration, load_evaluation
from atv.evaluation.questions import QuestionBatch, question_batches
from atv.evaluation.sharing import Prefixes
from atv.model.loading import load_model, model_folder
from atv.model.lvlm import LVLM
from atv.runtime.timing import Row, compare, elapsed, interleaved
from atv.runtime.trainer import quiet_trainer
from experiments.cost.floor import floor

FLOOR = "floor of a cell"
HALF, DENSE = Pathway("VisualOnly", sparsity=0.5), Pathway("AllTokens", sparsity=0.0)
CELLS = {
    "cell, ATV 50%": Cell({}, {"both": Pathway("DriftTopK", sparsity=0.5)}),
    "cell, visual pathway 50%": Cell({}, {"text": DENSE, "visual": HALF}),
}


def rows(repeats: int, name: str, samples: int, groups: int) -> list[Row]:
    """The table's rows for cells of a model against their floor, all timed in turns.

    Args:
        name: a model with its own questions and calibration set, "bundled" or "everyday".
        samples: number of calibration samples.
        groups: number of question groups per task.
    """
    model, processor = load_model(model_folder(name))
    prompt_sets = [PromptSet(question_batches(processor, load_evaluation(name, "test", groups), groups=groups), 8)]
    bench = Bench(model, processor, load_calibration(name), prompt_sets, samples)
    trainer = quiet_trainer(enable_progress_bar=False)
    questions = [
        askable for prompts in bench.encoded_prompts for batch in prompts.batches if (askable := batch.askable())
    ]
    calibration = bench.calibration(None, 0).batches
    runs: dict[str, Callable[[], float]] = {
        FLOOR: lambda: floor(model, calibration) + elapsed(lambda: distinct(model, questions))
    }
    for cell_name, cell in CELLS.items():
        runs[cell_name] = partial(elapsed, partial(prune_and_ask, cell, bench, trainer))
    seconds = interleaved(runs, repeats)
    return [compare(seconds, FLOOR, FLOOR), *(compare(seconds, cell_name, FLOOR, 1.5) for cell_name in CELLS)]


@torch.no_grad()
def distinct(model: PreTrainedModel, batches: Sequence[QuestionBatch]) -> None:
    """Plain forward passes over the distinct tokens of questions, each picture's prefix once; nothing is generated."""
    for batch in batches:
        if batch.pictures is None:
            _forward(model, batch.inputs)
            continue
        prefixes = Prefixes.find(LVLM.of(model), batch.inputs, batch.pictures)
        texts = [
            ids[attended]
            for ids, attended in zip(batch.inputs["input_ids"], batch.inputs["attention_mask"].bool(), strict=True)
        ]
        prefix_texts = [texts[row][:length] for row, length in zip(prefixes.first_rows, prefixes.lengths, strict=True)]
        _forward(model, _padded(prefix_texts) | dict(prefixes.inputs))
        _forward(
            model,
            _padded([text[-rest_length:] for text, rest_length in zip(texts, prefixes.rest_lengths, strict=True)]),
        )


def _forward(model: PreTrainedModel, inputs: Mapping[str, Any]) -> None:
    model(**inputs, use_cache=False, logits_to_keep=1)


def _padded(texts: Sequence[Tensor]) -> dict[str, Any]:
    ones = [torch.ones_like(text) for text in texts]
    ids, mask = (pad_sequence(rows, batch_first=True, padding_side="left") for rows in (list(texts), ones))
    return {"input_ids": ids, "attention_mask": mask}
