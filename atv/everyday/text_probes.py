"""Text probes of a language model's knowledge: sentences to complete without a picture, one of four endings is right.

The probes cover capitals, opposites, sayings, grammar and common sense; the untouched language model scores well above
chance (25%). A model chooses the most likely ending, by the sum of its tokens' log-probabilities in float64.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest
from transformers import PreTrainedModel, PreTrainedTokenizerBase

TABLE = Path(__file__).with_suffix(".csv")
BATCH = 32
Ending = tuple[int, int, list[int]]  # number of the probe, number of the ending, tokens of the ending


@dataclass(frozen=True)
class Probe:
    """A sentence to complete; the right ending comes first, then three wrong ones."""

    group: str
    prompt: str
    endings: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """``correct`` answers to ``count`` probes, with their share and its 95% interval (Wilson's)."""

    correct: int
    count: int

    @property
    def share(self) -> float:
        return self.correct / self.count

    @property
    def interval(self) -> tuple[float, float]:
        low, high = binomtest(self.correct, self.count).proportion_ci(method="wilson")
        return float(low), float(high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.1%} [{low:.1%}, {high:.1%}] ({self.correct} of {self.count})"


@cache
def probes() -> tuple[Probe, ...]:
    """Returns all probes, in the table's order."""
    with TABLE.open(encoding="utf-8", newline="") as rows:
        return tuple(
            Probe(row["group"], row["prompt"], (row["answer"], *row["others"].split("|")))
            for row in csv.DictReader(rows)
        )


def rows_by_length(tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yields the numbers of rows of equal length, at most ``BATCH`` at a time, so that nothing is padded."""
    for length in sorted({len(sequence) for sequence in tokens}):
        rows = [row for row, sequence in enumerate(tokens) if len(sequence) == length]
        yield from (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))


def _endings_by_context(
    tokenizer: PreTrainedTokenizerBase, asked_probes: Sequence[Probe]
) -> dict[tuple[int, ...], list[Ending]]:
    """Groups the endings by everything before their last token.

    Endings that differ only in their last token then share one forward pass.
    """
    endings_by_context: dict[tuple[int, ...], list[Ending]] = {}
    for probe_number, probe in enumerate(asked_probes):
        prompt = tokenizer(probe.prompt, add_special_tokens=False).input_ids
        for ending_number, ending in enumerate(probe.endings):
            tokens = tokenizer(f" {ending}", add_special_tokens=False).input_ids
            endings_by_context.setdefault((*prompt, *tokens[:-1]), []).append((probe_number, ending_number, tokens))
    return endings_by_context


@torch.inference_mode()
def likelihoods(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked_probes: Sequence[Probe]
) -> np.ndarray:
    """Returns the log-likelihood of every ending of every probe after its prompt: [probes, 4], in nats."""
    log_likelihoods = np.zeros((len(asked_probes), 4))
    endings_by_context = _endings_by_context(tokenizer, asked_probes)
    longest_ending = max(len(tokens) for endings in endings_by_context.values() for _, _, tokens in endings)
    all_contexts = list(endings_by_context)
    for rows in rows_by_length(all_contexts):
        contexts = [all_contexts[row] for row in rows]
        tokens = torch.tensor(contexts, device=model.device)
        logits = model(input_ids=tokens, logits_to_keep=min(longest_ending, tokens.shape[1])).logits
        for context, log_probabilities in zip(contexts, logits.cpu().double().log_softmax(-1), strict=True):
            for probe_number, ending_number, ending in endings_by_context[context]:
                log_likelihoods[probe_number, ending_number] = float(
                    log_probabilities[-len(ending) :][torch.arange(len(ending)), ending].sum()
                )
    return log_likelihoods


def chosen_right(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked_probes: Sequence[Probe]
) -> np.ndarray:
    """Returns whether the model finds the right ending most likely: [probes] of bool. An LVLM gets no picture."""
    log_likelihoods = likelihoods(model, tokenizer, asked_probes)
    return log_likelihoods[:, 0] > log_likelihoods[:, 1:].max(1)


def scores(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Score]:
    """Returns the score of each group of probes, and of all probes as "all"."""
    asked = probes()
    right = chosen_right(model, tokenizer, asked)
    group_masks = {
        group: np.array([probe.group == group for probe in asked])
        for group in (asked_probe.group for asked_probe in asked)
    }
    group_masks["all"] = np.ones(len(asked), bool)
    return {group: Score(int(right[mask].sum()), int(mask.sum())) for group, mask in group_masks.items()}
