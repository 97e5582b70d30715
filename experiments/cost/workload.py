"""A random LLaVA of any size, with calibration samples that need no processor."""

from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

IMAGE, VOCABULARY, PATCH = 3, 1000, 4
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """Shape of a LLaVA and its calibration samples.

    A sample has ``pictures`` pictures of ``visual`` tokens each (a square number) and ``text`` text tokens, give or
    take an eighth. The vision tower is small on purpose, because the cost of pruning lies in the decoder. ``hidden``
    is a multiple of 64, the width of a head.
    """

    hidden: int = 768
    ffn: int = 2048
    blocks: int = 6
    samples: int = 24
    pictures: int = 1
    visual: int = 576
    text: int = 60

    def __str__(self) -> str:
        return (
            f"hidden {self.hidden}, FFN {self.ffn}, {self.blocks} blocks, {self.samples} samples of "
            f"{self.pictures * self.visual} visual and about {self.text} text tokens, one per batch"
        )


def llava_config(shape: Shape) -> LlavaConfig:
    """Config of the model, with its vision tower and its language model."""
    tower: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    vision = CLIPVisionConfig(**tower, image_size=_side(shape), patch_size=PATCH)
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.blocks,
        num_attention_heads=shape.hidden // 64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        vision_feature_layer=-1,
        image_seq_length=shape.visual,
    )


def random_llava(shape: Shape, seed: int = 0) -> LlavaForConditionalGeneration:
    """A random model of this shape, in float32 and evaluation mode."""
    torch.manual_seed(seed)
    return LlavaForConditionalGeneration(llava_config(shape)).eval()


def random_batches(shape: Shape, seed: int = 0) -> list[Batch]:
    """Random samples, one per batch and without padding."""
    generator = torch.Generator().manual_seed(seed)
    pictures = (shape.pictures, 3, _side(shape), _side(shape))
    return [
        random_ids(shape.pictures * shape.visual, shape.text, IMAGE, generator)
        | {"pixel_values": torch.randn(pictures, generator=generator)}
        for _ in range(shape.samples)
    ]


def random_ids(visual: int, text: int, image: int, generator: torch.Generator) -> Batch:
    """``input_ids`` and ``attention_mask`` (1, length): some text, ``visual`` tokens with id ``image``, more text."""
    length = int(torch.randint(text - text // 8, text + text // 8 + 1, (), generator=generator))
    words = torch.randint(10, VOCABULARY, (length,), generator=generator)
    ids = torch.cat([words[:4], torch.full((visual,), image), words[4:]])[None]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _side(shape: Shape) -> int:
    side = isqrt(shape.visual)
    if side**2 != shape.visual:
        raise ValueError(f"visual: expected a square number of patches, got {shape.visual}")
    return side * PATCH
