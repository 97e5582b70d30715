"""How well a model reads plain English that its training never saw: perplexity on three texts in the public domain."""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

FOLDER = Path(__file__).parent / "english"
WINDOW = 512  # tokens


@dataclass(frozen=True)
class TextLoss:
    """What a text cost: ``loss`` is the sum over its ``tokens`` predicted tokens of their negative log-probability."""

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
def read(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> TextLoss:
    """A text in windows of ``WINDOW`` tokens, each alone, so that its first token is given and not predicted.

    An LVLM reads with its language model, without pictures. Losses are summed in float64.
    """
    tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt", verbose=False).input_ids
    total = TextLoss(0.0, 0)
    for window in tokens.split(WINDOW, dim=1):
        logits = model(input_ids=window.to(model.device)).logits[0, :-1].float()
        losses = cross_entropy(logits, window[0, 1:].to(model.device), reduction="none")
        total += TextLoss(float(losses.double().sum()), losses.numel())
    return total


def perplexities(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """The perplexity of each text, and of "all" of their tokens together."""
    readings = {name: read(model, tokenizer, text) for name, text in texts().items()}
    readings["all"] = sum(readings.values(), TextLoss(0.0, 0))
    return {name: reading.perplexity for name, reading in readings.items()}
