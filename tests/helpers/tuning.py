"""A pruned random model and labelled batches, for the tests of fine-tuning."""

import torch
from helpers.tiny import IMAGE, make_batch

from atv.finetuning.settings import Settings

SETTINGS = Settings(
    epochs=2,
    batch_size=2,
    learning_rate=1e-2,
    weight_decay=0.1,
    warmup=0.25,
    lora_rank=None,
    lora_alpha=8.0,
    train_also=(),
    seed=0,
)


def pruned(lvlm, share=0.6):
    """Prunes every target except one block's q_proj at random in place, and returns the masks."""
    generator = torch.Generator().manual_seed(0)
    masks = {}
    for name, target in lvlm.prunable.items():
        if not name.endswith("layers.1.self_attn.q_proj"):
            masks[name] = torch.rand(target.weight.shape, generator=generator) >= share
            target.weight.data.mul_(masks[name])
    return masks


def answers(count, textual=()):
    """Batches of two samples whose last four tokens are answers; those at an index in ``textual`` have no picture."""
    batches = [make_batch([5 + index, 9], seed=index, images=index not in textual) for index in range(count)]
    for batch in batches:
        labels = batch["input_ids"].masked_fill(batch["input_ids"] == IMAGE, -100)
        labels[:, :-4] = -100
        batch["labels"] = labels
    return batches


def unlabelled(batches):
    """The same batches without labels, for training that learns no answers."""
    return [{key: value for key, value in batch.items() if key != "labels"} for batch in batches]
