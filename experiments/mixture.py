"""A mixture of experts small enough to train here: the bundled model with each FFN copied into several experts.

python -m experiments.mixture --output out/mixture

No pretrained mixture is small. Behind a randomly initialized router, copies of one FFN compute what the FFN did (sparse
upcycling, Komatsuzaki et al., arXiv 2212.05055). Further training makes them differ, so which tokens an expert serves
is learned, not set.
"""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse import auto_cli
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader
from transformers import LlavaForConditionalGeneration, MixtralConfig

from atv.api import load
from atv.bundled.training.language import POLISHING, DialogueBatches, LanguageStage
from atv.bundled.training.optimization import Schedule
from atv.records.files import saved_atomically, writable

# Standard deviation of a router's weights, so that different words and patches start with different experts.
SPREAD = 0.05
# Fields that the configs of Llama and Mixtral share.
KEPT = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim"),
    *("num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "rope_parameters", "tie_word_embeddings"),
    *("pad_token_id", "bos_token_id", "eos_token_id", "initializer_range"),
)


def make(
    output: Path, experts: int = 4, chosen: int = 2, steps: int = 400, seed: int = 0, threads: int | None = None
) -> None:
    """Assemble the mixture, train it on the bundled model's scenes, and save it as an ordinary folder.

    Args:
        output: Folder for model and processor.
        experts: Number of experts per block.
        chosen: Number of experts per token.
        steps: Number of training batches, each of 16 pictures with dialogues.
        seed: Seed of the routers and of the training data.
        threads: Number of torch threads. Default: torch's own choice.
    """
    writable(output, "output")
    torch.set_num_threads(threads or torch.get_num_threads())
    L.seed_everything(seed)
    dense, processor = load("bundled")
    assert isinstance(dense, LlavaForConditionalGeneration)
    model = upcycled(dense, experts, chosen)
    stage = LanguageStage(model, Schedule(steps, warmup=20, hold=0.3), muon_lr=3e-3, adam_lr=1e-3, tower=False)
    dialogues = DialogueBatches(POLISHING, seed + 1, steps, 16, 184)
    logger = CSVLogger(output.parent, name=f"{output.name}-training", version="")
    # Lightning counts the steps of both optimizers.
    trainer = L.Trainer(max_steps=2 * steps, logger=logger, enable_checkpointing=False, enable_model_summary=False)
    trainer.fit(stage, DataLoader(dialogues, batch_size=None))
    model.set_attn_implementation("sdpa")

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)

    saved_atomically(output, write)


def upcycled(dense: LlavaForConditionalGeneration, experts: int, chosen: int) -> LlavaForConditionalGeneration:
    """A LLaVA in which ``experts`` copies replace every FFN of the Llama, ``chosen`` of them per token.

    It computes what ``dense`` does, because the weights of the chosen experts add up to one.
    """
    config = type(dense.config).from_dict(dense.config.to_dict())
    mixture: dict[str, Any] = {"num_local_experts": experts, "num_experts_per_tok": chosen, "sliding_window": None}
    config.text_config = MixtralConfig(**{name: getattr(dense.config.text_config, name) for name in KEPT}, **mixture)
    model = LlavaForConditionalGeneration(config)
    weights = dense.state_dict()
    model.load_state_dict({name: weights[name] for name in model.state_dict() if name in weights}, strict=False)
    for block, new_block in zip(dense.get_decoder().layers, model.get_decoder().layers, strict=True):
        new_experts, gate_up = new_block.mlp.experts, torch.cat([block.mlp.gate_proj.weight, block.mlp.up_proj.weight])
        with torch.no_grad():
            new_experts.gate_up_proj.copy_(gate_up.expand_as(new_experts.gate_up_proj))
            new_experts.down_proj.copy_(block.mlp.down_proj.weight.expand_as(new_experts.down_proj))
            nn.init.normal_(new_block.mlp.gate.weight, std=SPREAD)
    model.generation_config = dense.generation_config
    return model


if __name__ == "__main__":
    auto_cli(make, as_positional=False)
