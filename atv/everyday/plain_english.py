"""Measures how much English a model knows: its perplexity on three texts that the everyday model was not trained on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atv.records.cell_record import ALL

FOLDER = Path(__file__).parent / "english"
WINDOW = 512  # tokens


@dataclass(frozen=True)
class TextLoss:
    """The loss on a text or on a window of it.

    ``loss`` is the sum of the negative log-probabilities of its ``tokens`` predicted tokens.
    """

    loss: float
    tokens: int

    @property
    def perplexity(self) -> float:
        return math.exp(self.loss / self.tokens)

    def __add__(self, other: "TextLoss") -> "TextLoss":
        return TextLoss(self.loss + other.loss, self.tokens + other.tokens)


@cache
def texts() -> dict[str, str]:
    """Returns the three texts by name; ``english/ATTRIBUTION.md`` lists their sources."""
    return {file.stem: file.read_text(encoding="utf-8").strip() for file in sorted(FOLDER.glob("*.txt"))}


@torch.inference_mode()
def read(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> list[TextLoss]:
    """Returns the losses on a text, in separate windows of ``WINDOW`` tokens.

    The first token of each window is given, not predicted. An LVLM reads with its language model, without pictures.
    Losses are summed in float64.
    """
    tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt", verbose=False).input_ids
    losses = []
    for window in tokens.split(WINDOW, dim=1):
        logits = model(input_ids=window.to(model.device)).logits[0, :-1].float()
        token_losses = cross_entropy(logits, window[0, 1:].to(model.device), reduction="none")
        losses.append(TextLoss(float(token_losses.double().sum()), token_losses.numel()))
    # In a window of one token, nothing is predicted.
    return [window for window in losses if window.tokens]


def readings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[TextLoss]]:
    """Returns the losses on each text, window by window."""
    return {name: read(model, tokenizer, text) for name, text in texts().items()}


def perplexities(losses: Mapping[str, Sequence[TextLoss]]) -> dict[str, float]:
    """Returns the perplexity of each text from ``readings``, and of all their tokens together as "all"."""
    text_losses = {name: sum(windows, TextLoss(0.0, 0)) for name, windows in losses.items()}
    text_losses[ALL] = sum(text_losses.values(), TextLoss(0.0, 0))
    return {name: text_loss.perplexity for name, text_loss in text_losses.items()}
