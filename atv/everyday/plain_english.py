"""How much English a model knows: perplexity on three texts that its training never saw, and probes.

A probe is a question without a picture that the untouched language model answers well above chance: capitals,
opposites, sayings, grammar, common sense; four ways to end a sentence, one of them right, chance 25%. Its choice
is the ending that it finds likeliest (the sum of its tokens' log-probabilities, in float64).
"""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atv.records.cell_record import ALL

FOLDER = Path(__file__).parent / "english"
WINDOW = 512  # tokens
TABLE = Path(__file__).with_name("text_probes.csv")
BATCH = 32
Ending = tuple[int, int, list[int]]  # the probe's number, the ending's, and its tokens


@dataclass(frozen=True)
class TextLoss:
    """What a text or a window of it cost: ``loss`` is the sum over its ``tokens`` predicted tokens of their negative
    log-probability."""

    loss: float
    tokens: int

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss / self.tokens)

    def __add__(self, other: "TextLoss") -> "TextLoss":
        return TextLoss(self.loss + other.loss, self.tokens + other.tokens)


@cache
def texts() -> dict[str, str]:
    """The three texts by their names, sources in ``english/ATTRIBUTION.md``."""
    return {file.stem: file.read_text(encoding="utf-8").strip() for file in sorted(FOLDER.glob("*.txt"))}


@torch.inference_mode()
def read(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> list[TextLoss]:
    """A text in windows of ``WINDOW`` tokens, each alone, so that its first token is given and not predicted.

    An LVLM reads with its language model, without pictures. Losses are summed in float64.
    """
    tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt", verbose=False).input_ids
    losses = []
    for window in tokens.split(WINDOW, dim=1):
        logits = model(input_ids=window.to(model.device)).logits[0, :-1].float()
        each = cross_entropy(logits, window[0, 1:].to(model.device), reduction="none")
        losses.append(TextLoss(float(each.double().sum()), each.numel()))
    # A token alone is given, and nothing is predicted.
    return [window for window in losses if window.tokens]


def readings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[TextLoss]]:
    """What each text cost, window by window."""
    return {name: read(model, tokenizer, text) for name, text in texts().items()}


def perplexities(losses: Mapping[str, Sequence[TextLoss]]) -> dict[str, float]:
    """The perplexity of each text of ``readings``, and of "all" of their tokens together."""
    by_text = {name: sum(windows, TextLoss(0.0, 0)) for name, windows in losses.items()}
    by_text[ALL] = sum(by_text.values(), TextLoss(0.0, 0))
    return {name: text.perplexity for name, text in by_text.items()}


@dataclass(frozen=True)
class Probe:
    """A sentence to end: the right ending first, then three wrong ones."""

    group: str
    prompt: str
    endings: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """``right`` of ``count`` probes; the share of the right ones with its 95% interval (Wilson's)."""

    right: int
    count: int

    @property
    def share(self) -> float:
        return self.right / self.count

    @property
    def interval(self) -> tuple[float, float]:
        low, high = binomtest(self.right, self.count).proportion_ci(method="wilson")
        return float(low), float(high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.1%} [{low:.1%}, {high:.1%}] ({self.right} of {self.count})"


@cache
def probes() -> tuple[Probe, ...]:
    """All of them, in the table's order."""
    with TABLE.open(encoding="utf-8", newline="") as rows:
        return tuple(
            Probe(row["group"], row["prompt"], (row["answer"], *row["others"].split("|")))
            for row in csv.DictReader(rows)
        )


def _batches(contexts: Iterable[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    """At most ``BATCH`` of one length at a time, so that nothing is padded."""
    by_length: dict[int, list[tuple[int, ...]]] = {}
    for context in contexts:
        by_length.setdefault(len(context), []).append(context)
    for _, own in sorted(by_length.items()):
        yield from (own[start : start + BATCH] for start in range(0, len(own), BATCH))


def _by_context(tokenizer: PreTrainedTokenizerBase, asked: Sequence[Probe]) -> dict[tuple[int, ...], list[Ending]]:
    """The endings by all that comes before their last token: one forward for those that differ in that token alone."""
    found: dict[tuple[int, ...], list[Ending]] = {}
    for number, probe in enumerate(asked):
        prompt = tokenizer(probe.prompt, add_special_tokens=False).input_ids
        for which, ending in enumerate(probe.endings):
            tokens = tokenizer(f" {ending}", add_special_tokens=False).input_ids
            found.setdefault((*prompt, *tokens[:-1]), []).append((number, which, tokens))
    return found


@torch.inference_mode()
def likelihoods(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked: Sequence[Probe]) -> np.ndarray:
    """The log-likelihood of every ending of every probe after its prompt, [probes, 4] in nats."""
    found = np.zeros((len(asked), 4))
    by_context = _by_context(tokenizer, asked)
    longest = max(len(tokens) for endings in by_context.values() for _, _, tokens in endings)
    for contexts in _batches(by_context):
        tokens = torch.tensor(contexts, device=model.device)
        logits = model(input_ids=tokens, logits_to_keep=min(longest, tokens.shape[1])).logits
        for context, after in zip(contexts, logits.cpu().double().log_softmax(-1), strict=True):
            for number, which, ending in by_context[context]:
                found[number, which] = float(after[-len(ending) :][torch.arange(len(ending)), ending].sum())
    return found


def chosen_right(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked: Sequence[Probe]) -> np.ndarray:
    """Whether the model finds the right ending likeliest, [probes] of bool; an LVLM is asked without a picture."""
    found = likelihoods(model, tokenizer, asked)
    return found[:, 0] > found[:, 1:].max(1)


def scores(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, Score]:
    """The score of each group of probes, and of "all"."""
    asked = probes()
    right = chosen_right(model, tokenizer, asked)
    groups = {group: np.array([probe.group == group for probe in asked]) for group in (one.group for one in asked)}
    groups["all"] = np.ones(len(asked), bool)
    return {group: Score(int(right[own].sum()), int(own.sum())) for group, own in groups.items()}
