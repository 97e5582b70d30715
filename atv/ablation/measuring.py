"""A cell's run: the pruned copy, its answers, what it cost, and how much plain English is left of it."""

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
from atv.evaluation.generation import COLUMNS, predict, scored
from atv.everyday.plain_english import TextLoss, readings, texts
from atv.plugins import resolve
from atv.records.pruning_report import PruningReport
from atv.runtime.ranks import gathered
from atv.selection import TokenSelection

# Of the tokens: more than stray names and signs.
UNKNOWN = 0.01


def require_english(tokenizer: PreTrainedTokenizerBase) -> None:
    """
    Raises:
        ValueError: when the tokenizer knows too little of plain English for a perplexity to mean anything.
    """
    if tokenizer.unk_token_id is None:
        return
    tokens = [token for text in texts().values() for token in tokenizer(text, verbose=False).input_ids]
    share = tokens.count(tokenizer.unk_token_id) / len(tokens)
    if share > UNKNOWN:
        raise ValueError(
            f"language: the model's tokenizer does not know {share:.0%} of plain English, so its perplexity means "
            "nothing; leave the option out"
        )


@dataclass(frozen=True)
class Measured:
    """The result of a cell: rows (of answers, by default), the pruning report with its masks, seconds by part, and what
    plain English cost, window by window of each text, where that was asked for."""

    rows: pd.DataFrame | None = None
    report: PruningReport | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    english: dict[str, list[TextLoss]] = field(default_factory=dict)


def pruned_copy(cell: Cell, bench: Bench, trainer: L.Trainer) -> tuple[PreTrainedModel, PruningReport | None]:
    """A copy of the dense model pruned as the cell says; the dense model itself where it says nothing."""
    if not cell.pathways:
        return bench.model, None
    model = copy.deepcopy(bench.model)
    rules = [resolve(pathway.selection, TokenSelection, "selection") for pathway in cell.pathways.values()]
    answers = any(rule.needs_answers for rule in rules)
    samples = bench.calibration(cell.samples, cell.seed, cell.calibration, answers)
    shared: dict[str, Any] = {"targets": cell.targets, "propagate": cell.propagate, "seed": cell.seed}
    shared["calibration"] = samples.record
    if "both" in cell.pathways:
        return model, prune(model, samples.batches, **vars(cell.pathways["both"]), **shared, trainer=trainer)
    text, visual = cell.pathways["text"], cell.pathways["visual"]
    return model, decouple(model, samples.batches, text=text, visual=visual, **shared, trainer=trainer)


def prune_and_ask(cell: Cell, bench: Bench, trainer: L.Trainer) -> Measured:
    """Prunes a copy as the cell says, and asks it every question unless the cell is to be left unasked."""
    started = perf_counter()
    model, report = pruned_copy(cell, bench, trainer)
    pruned = perf_counter()
    if not cell.asked:
        return Measured(None, report, {"prune": pruned - started})
    answers = answers_of(model, bench.of(cell), trainer)
    seconds, evaluated = {"prune": pruned - started, "evaluate": perf_counter() - pruned}, perf_counter()
    if read := english_of(model, bench, trainer):
        seconds |= {"read": perf_counter() - evaluated}
    return Measured(answers, report, seconds, read)


def answers_of(model: PreTrainedModel, bench: Bench, trainer: L.Trainer) -> pd.DataFrame:
    """What a model with the dense one's vision tower answers to every question, one a row; those that cannot be asked
    have their ``fault`` beside the columns of ``answer``, and are wrong."""
    return pd.concat([_answers(model, bench, each, trainer) for each in bench.encoded_prompts], ignore_index=True)


def _answers(model: PreTrainedModel, bench: Bench, prompts: PromptSet, trainer: L.Trainer) -> pd.DataFrame:
    questions = {each["question_id"]: each for batch in prompts.batches for each in batch.questions}
    told = set(prompts.faults)
    asked = prompts.batches, prompts.max_new_tokens, trainer
    predicted = predict(model, bench.processor, *asked, built_alike=bench.built_alike)
    for of_rank in gathered(prompts.faults):
        prompts.faults.update(of_rank)
    missed = questions.keys() - {each["question_id"] for each, _ in predicted}
    faults = {name: prompts.faults[name] for name in missed}
    # Cells that share the questions share their faults.
    if trainer.is_global_zero and (new := {name: faults[name] for name in sorted(missed - told)}):
        tell_faults(questions[next(iter(new))]["task"], new)
    rows = scored([*predicted, *not_asked(questions, faults)])
    return rows[[name for name in (*COLUMNS, "fault") if name in rows]]


def english_of(model: PreTrainedModel, bench: Bench, trainer: L.Trainer) -> dict[str, list[TextLoss]]:
    """What plain English cost, window by window of each text; nothing where the run does not ask for it.

    It is read on the trainer's device; the model is back where it was afterwards.
    """
    if not bench.language:
        return {}
    home = model.device
    model.to(trainer.strategy.root_device)  # type: ignore[arg-type]
    try:
        return readings(model, bench.processor.tokenizer)
    finally:
        model.to(home)  # type: ignore[arg-type]
