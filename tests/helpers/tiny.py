"""The random LLaVA of the tests, batches for it, and a user-defined pattern."""

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from atv.patterns import Pattern
from atv.selection import Tokens

IMAGE = 7
PATCHES = 9
MIXED = [0, 1, 1, 1, 1, 0, 0, 1, 1, 0]


def random_llava():
    """A random LLaVA with three blocks, the same on every call."""
    text = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=49,
    )
    return llava_around(text)


def llava_around(text):
    """A random LLaVA whose language model has the given config."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=12, patch_size=4
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        vision_feature_layer=-1,
        image_seq_length=PATCHES,
    )
    return LlavaForConditionalGeneration(config).eval()


def make_batch(lengths, seed, side="left", images=True):
    """One batch: rows of PATCHES visual tokens and the given numbers of text tokens, padded on one side."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths) + (PATCHES if images else 0)
    ids = torch.zeros(len(lengths), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        text = torch.randint(10, 49, (length,), generator=generator)
        tokens = torch.cat([text[:1], torch.full((PATCHES,), IMAGE), text[1:]]) if images else text
        place = slice(longest - len(tokens), longest) if side == "left" else slice(0, len(tokens))
        ids[row, place], mask[row, place] = tokens, 1
    batch = {"input_ids": ids, "attention_mask": mask}
    if images:
        batch["pixel_values"] = torch.randn(len(lengths), 3, 12, 12, generator=generator)
    return batch


def never_read():
    """Batches for a call that must fail before it reads a sample."""
    pytest.fail("a sample was read")
    yield


def same_logits(one, other, batches):
    """Whether two models have the same logits, up to rounding."""
    with torch.no_grad():
        pairs = [(one(**batch).logits, other(**batch).logits) for batch in batches]
    return all((own - expected).abs().max() <= 1e-5 * expected.abs().max() for own, expected in pairs)


def singles(batches):
    """The same samples, one per batch and without padding."""
    result = []
    for batch in batches:
        for row, keep in enumerate(batch["attention_mask"].bool()):
            one = {"input_ids": batch["input_ids"][row][keep][None]}
            one["attention_mask"] = torch.ones_like(one["input_ids"])
            if "pixel_values" in batch:
                one["pixel_values"] = batch["pixel_values"][row][None]
            if "labels" in batch:
                one["labels"] = batch["labels"][row][keep][None]
            result.append(one)
    return result


def make_tokens(visual, seed=0, sample=0, block=0, hidden=6):
    """A sample whose block inputs and outputs are half-integers."""
    generator = torch.Generator().manual_seed(seed)
    n = len(visual)
    pair = torch.randint(-4, 5, (2, n, hidden), generator=generator).float() + 0.5
    return Tokens(torch.tensor(visual, dtype=torch.bool), torch.arange(n), pair[0], pair[1], sample, block, seed=0)


class EvenColumns(Pattern):
    """A user-defined pattern that handles only whole weights."""

    sparsity = 0.5

    def mask(self, score, sparsity):
        return torch.arange(score.shape[1]).expand_as(score) % 2 == 0
