"""Tiny random LVLMs with a mixture of experts: two decoder blocks, four experts, two (or one) per token."""

import torch
from helpers.tiny import IMAGE, llava_around, make_batch
from transformers import (
    Ernie4_5_VLMoeConfig,
    Ernie4_5_VLMoeForConditionalGeneration,
    GptOssConfig,
    Llama4TextConfig,
    Qwen3MoeConfig,
)

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 49,
}


def qwen3_moe():
    """Experts are (out, in); the router is a parameter."""
    return Qwen3MoeConfig(**SHAPE, intermediate_size=48, moe_intermediate_size=24, num_experts=4, num_experts_per_tok=2)


def gpt_oss():
    """Experts are (in, out) with biases and their own gate; the router is a parameter."""
    return GptOssConfig(
        **SHAPE, intermediate_size=24, num_local_experts=4, num_experts_per_tok=2, layer_types=["full_attention"] * 2
    )


def llama4():
    """Experts are (in, out), and each gets every token, scaled; the router is a Linear; there is a shared expert."""
    return Llama4TextConfig(
        **SHAPE,
        intermediate_size=24,
        intermediate_size_mlp=48,
        num_local_experts=4,
        num_experts_per_tok=1,
        interleave_moe_layer_step=1,
        attention_chunk_size=64,
    )


TEXTS = {"qwen3_moe": qwen3_moe, "gpt_oss": gpt_oss, "llama4_text": llama4}


def moe_llava(kind):
    """A LLaVA around a language model of TEXTS, for the batches of ``tiny.make_batch``."""
    model = llava_around(TEXTS[kind]())
    for name, parameter in model.named_parameters():
        if name.endswith("bias") and ".language_model." in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def layers(model):
    """The modules that hold router and experts, by full name."""
    return {name: module for name, module in model.named_modules() if hasattr(module, "experts")}


def ernie(seed=0):
    """ERNIE 4.5 VL, with separate experts for text tokens and visual tokens."""
    torch.manual_seed(seed)
    text = SHAPE | {"moe_k": 2, "moe_num_experts": 4, "moe_num_shared_experts": 1, "moe_intermediate_size": [24, 16]}
    text |= {"intermediate_size": 48, "mlp_layer_types": ["sparse"] * 2}
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    vision = {"hidden_size": 16, "intermediate_size": 32, "depth": 1, "num_heads": 2, "patch_size": 4}
    config = Ernie4_5_VLMoeConfig(text_config=text, vision_config=vision, image_token_id=IMAGE, video_token_id=8)
    return Ernie4_5_VLMoeForConditionalGeneration(config).eval()


def ernie_batch(lengths, seed, side="left", images=True):
    """A batch whose visual tokens have their own embeddings instead of image features."""
    batch = make_batch(lengths, seed, side, images)
    ids = batch["input_ids"]
    return {"input_ids": ids, "attention_mask": batch["attention_mask"], "moe_mm_token_type_ids": (ids == IMAGE).int()}
