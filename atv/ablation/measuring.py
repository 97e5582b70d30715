"""Runs a cell: makes the pruned copy, asks it, and measures its cost and how much plain English is left."""

import copy
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import lightning as L
import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atv.ablation.bench import Bench, PromptSet
from atv.ablation.cell import Cell
from atv.api import decouple, prune
from atv.evaluation.benchmark_run import not_asked, tell_faults
from atv.evaluation.generation import COLUMNS, predict, scored_answers
from atv.everyday.plain_english import TextLoss, readings, texts
from atv.plugins import resolve
from atv.records.pruning_report import PruningReport
from atv.runtime.ranks import gathered
from atv.selection import TokenSelection

# Share of the tokens that is more than stray names and signs.
UNKNOWN = 0.01


def require_english(tokenizer: PreTrainedTokenizerBase) -> None:
    """Checks that the tokenizer knows enough plain English for a perplexity to mean anything.

    Raises:
        ValueError: when it does not.
    """
    if tokenizer.unk_token_id is None:
        return
    tokens = [token for text in texts().values() for token in tokenizer(text, verbose=False).input_ids]
    share = tokens.count(tokenizer.unk_token_id) / len(tokens)
    if share > UNKNOWN:
        raise ValueError(
            f"language: the model's tokenizer does not know {share:.0%} of plain English, so its perplexity means "
            "nothing; omit the option"
        )


@dataclass(frozen=True)
class Measured:
    """The result of a cell.

    Attributes:
        rows: the answers, by default.
        report: the pruning report with its masks.
        seconds: seconds by part.
        english: the losses of plain English, window by window of each text, if they were asked for.
    """

    rows: pd.DataFrame | None = None
    report: PruningReport | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    english: dict[str, list[TextLoss]] = field(default_factory=dict)


def pruned_copy(cell: Cell, bench: Bench, trainer: L.Trainer) -> tuple[PreTrainedModel, PruningReport | None]:
    """Returns a copy of the dense model pruned as the cell says; the dense model itself if the cell prunes nothing."""
    if not cell.pathways:
        return bench.model, None
    model = copy.deepcopy(bench.model)
    rules = [resolve(pathway.selection, TokenSelection, "selection") for pathway in cell.pathways.values()]
    needs_answers = any(rule.needs_answers for rule in rules)
    samples = bench.calibration(cell.samples, cell.seed, cell.calibration, needs_answers)
    options: dict[str, Any] = {"targets": cell.targets, "propagate": cell.propagate, "seed": cell.seed}
    options["calibration"] = samples.record
    if "both" in cell.pathways:
        return model, prune(model, samples.batches, **vars(cell.pathways["both"]), **options, trainer=trainer)
    text, visual = cell.pathways["text"], cell.pathways["visual"]
    return model, decouple(model, samples.batches, text=text, visual=visual, **options, trainer=trainer)


def prune_and_ask(cell: Cell, bench: Bench, trainer: L.Trainer) -> Measured:
    """Prunes a copy as the cell says, and asks it every question unless the cell is not to be asked."""
    started_at = perf_counter()
    model, report = pruned_copy(cell, bench, trainer)
    pruned_at = perf_counter()
    if not cell.asked:
        return Measured(None, report, {"prune": pruned_at - started_at})
    answers = answers_of(model, bench.of(cell), trainer)
    seconds, evaluated_at = {"prune": pruned_at - started_at, "evaluate": perf_counter() - pruned_at}, perf_counter()
    if english := english_of(model, bench, trainer):
        seconds |= {"read": perf_counter() - evaluated_at}
    return Measured(answers, report, seconds, english)


def answers_of(model: PreTrainedModel, bench: Bench, trainer: L.Trainer) -> pd.DataFrame:
    """Returns the answers of a model with the dense model's vision tower to every question, one per row.

    The columns are those of ``answer``. Questions that cannot be asked have a ``fault`` as well, and count as wrong.
    """
    return pd.concat(
        [_answers(model, bench, prompt_set, trainer) for prompt_set in bench.encoded_prompts], ignore_index=True
    )


def _answers(model: PreTrainedModel, bench: Bench, prompts: PromptSet, trainer: L.Trainer) -> pd.DataFrame:
    questions = {question["question_id"]: question for batch in prompts.batches for question in batch.questions}
    reported_before = set(prompts.faults)
    prompts_and_trainer = prompts.batches, prompts.max_new_tokens, trainer
    predicted = predict(model, bench.processor, *prompts_and_trainer, built_alike=bench.built_alike)
    for rank_faults in gathered(prompts.faults):
        prompts.faults.update(rank_faults)
    missed_ids = questions.keys() - {question["question_id"] for question, _ in predicted}
    faults = {name: prompts.faults[name] for name in missed_ids}
    # Cells that share the questions share their faults, which are reported once.
    if trainer.is_global_zero and (new_faults := {name: faults[name] for name in sorted(missed_ids - reported_before)}):
        tell_faults(questions[next(iter(new_faults))]["task"], new_faults)
    rows = scored_answers([*predicted, *not_asked(questions, faults)])
    return rows[[name for name in (*COLUMNS, "fault") if name in rows]]


def english_of(model: PreTrainedModel, bench: Bench, trainer: L.Trainer) -> dict[str, list[TextLoss]]:
    """Returns the losses of plain English, window by window of each text; empty if the run does not ask for them.

    The model reads on the trainer's device and is moved back afterwards.
    """
    if not bench.language:
        return {}
    original_device = model.device
    model.to(trainer.strategy.root_device)  # type: ignore[arg-type]
    try:
        return readings(model, bench.processor.tokenizer)
    finally:
        model.to(original_device)  # type: ignore[arg-type]
