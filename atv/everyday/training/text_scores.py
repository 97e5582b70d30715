"""Measures how much English a saved language model or LVLM knows: perplexity on plain English, and the text probes.

python -m atv.everyday.training.text_scores FOLDER
"""

import torch
from jsonargparse import auto_cli
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

from atv.everyday import plain_english, text_probes


def show(folder: str) -> None:
    """Print the perplexity of each text and the score of each group of text probes.

    Args:
        folder: Folder of the model, as written by save_pretrained.
    """
    has_vision = hasattr(AutoConfig.from_pretrained(folder), "vision_config")
    auto_class = AutoModelForImageTextToText if has_vision else AutoModelForCausalLM
    model = auto_class.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    losses = plain_english.readings(model, tokenizer)
    for name, perplexity in plain_english.perplexities(losses).items():
        print(f"perplexity of {name}: {perplexity:.2f}", flush=True)
    for group, score in text_probes.scores(model, tokenizer).items():
        print(f"text probes, {group}: {score}")


if __name__ == "__main__":
    auto_cli(show)
