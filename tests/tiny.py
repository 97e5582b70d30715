"""Batches for the random LLaVA of the tests."""

import torch

IMAGE = 7
PATCHES = 9


def make_batch(lengths, seed, side="left", images=True):
    """One batch: rows of PATCHES visual tokens and the given number of text tokens, padded on a side."""
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


def singles(batches):
    """The same samples, one a batch and without padding."""
    result = []
    for batch in batches:
        for row, keep in enumerate(batch["attention_mask"].bool()):
            one = {"input_ids": batch["input_ids"][row][keep][None]}
            one["attention_mask"] = torch.ones_like(one["input_ids"])
            if "pixel_values" in batch:
                one["pixel_values"] = batch["pixel_values"][row][None]
            result.append(one)
    return result
