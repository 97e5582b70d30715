"""What pruning leaves of a model's language beside its scores: plain English."""

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atv.everyday.plain_english import perplexities, texts

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


def plain_english(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, device: torch.device) -> dict[str, float]:
    """The perplexity of each text and of "all", read on a device; the model is back where it was afterwards."""
    home = model.device
    model.to(device)  # type: ignore[arg-type]
    try:
        return perplexities(model, tokenizer)
    finally:
        model.to(home)  # type: ignore[arg-type]
