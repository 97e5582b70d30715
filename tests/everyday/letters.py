"""A tokenizer for the tests' random LLaVA: one token a letter."""

from types import SimpleNamespace

import torch


class Letters:
    def __call__(self, text, add_special_tokens=True, return_tensors=None, verbose=True):
        ids = [10 + ord(letter) % 37 for letter in text]
        return SimpleNamespace(input_ids=torch.tensor([ids]) if return_tensors else ids)


def log_probability(model, before, token):
    """Of one token after all those ``before``, from the formula."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([before])).logits[0, -1].double()
    return float(logits[token] - logits.exp().sum().log())
