import copy
import os

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

import pytest
import torch
from tiny import IMAGE, PATCHES, make_batch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration


@pytest.fixture(scope="session")
def _random_llava():
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=12, patch_size=4
    )
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
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        vision_feature_layer=-1,
        image_seq_length=PATCHES,
    )
    return LlavaForConditionalGeneration(config).eval()


@pytest.fixture
def llava(_random_llava):
    """A random LLaVA of three blocks that a test may prune."""
    return copy.deepcopy(_random_llava)


@pytest.fixture
def batches():
    """Five samples in three batches: padded on either side, and one without padding."""
    return [make_batch([5, 8], 1), make_batch([6], 2), make_batch([12, 4], 3, side="right")]
