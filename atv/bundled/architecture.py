"""The shape of the bundled model: LLaVA with a CLIP vision tower and Llama blocks, about 3.5 M parameters."""

import torch
from torch import nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.models.llama.modeling_llama import LlamaAttention

from atv.bundled.drawing import SIDE
from atv.bundled.vocabulary import PATCH, words


def build_model() -> LlavaForConditionalGeneration:
    """A model with random weights, drawn from torch's global generator."""
    vocabulary = words()
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=128,
    )
    text = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.05,
        pad_token_id=vocabulary.index("<pad>"),
        bos_token_id=None,
        eos_token_id=vocabulary.index("<end>"),
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=vocabulary.index("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(SIDE // PATCH) ** 2,
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    for block in model.get_decoder().layers:
        _compare_by_content(
            block.self_attn, heads=text.num_attention_heads // 2, width=text.hidden_size // text.num_attention_heads
        )
        # Residual branches start at zero, so that tokens keep their identity until there is something to add.
        nn.init.zeros_(block.self_attn.o_proj.weight)
        nn.init.zeros_(block.mlp.down_proj.weight)
    nn.init.constant_(model.get_decoder().norm.weight, 0.2)
    return model


@torch.no_grad()
def _compare_by_content(attention: LlamaAttention, heads: int, width: int) -> None:
    """Starts the first heads with equal query and key weights, so that like attends to like.

    A mild form of mimetic initialization (Trockman and Kolter, arXiv 2305.09828). From a random start, looking
    things up by content (presence, "the colour of the star", multiple choice) stays at chance for thousands of steps.
    """
    rows = slice(0, heads * width)
    nn.init.orthogonal_(attention.q_proj.weight[rows])
    attention.k_proj.weight[rows] = attention.q_proj.weight[rows]
