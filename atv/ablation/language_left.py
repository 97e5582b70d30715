"""What pruning leaves of a model's language beside its scores: plain English, and answers that are any."""

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


def only_repeats(text: str) -> bool:
    """Whether a text is one piece of it over and over: twice, and at least the beginning of a third time.

    A number is no repetition. Takes time in the square of the text's length: made for short answers.

    >>> [only_repeats(text) for text in ("a cat, a cat, a c", "no no no", "no no", "a cat", "111", "")]
    [True, True, False, False, False, False]
    """
    said = text.strip()
    if said.isdigit():
        return False
    return any(said[length:] == said[:-length] for length in range(1, (len(said) + 1) // 2))
