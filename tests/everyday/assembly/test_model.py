"""Joined halves: each computes what it computed alone."""

import copy
from dataclasses import replace

import pytest
import torch
from everyday.assembly import tiny_halves
from PIL import Image
from transformers import AutoModel, Dinov2WithRegistersConfig, LlamaForCausalLM, SiglipVisionConfig

from atv.data.conversations import encode, messages
from atv.data.labels import labelled
from atv.everyday.assembly.joining import joined
from atv.everyday.assembly.vision_half import VisionHalf

# 5 x 5 patches of 4 pixels.
TOKENS = 25


def own_tokenizer(language):
    return replace(language, tokenizer=copy.deepcopy(language.tokenizer))


@torch.no_grad()
def test_text_is_answered_as_by_the_language_half(model_and_processor, language):
    model, _ = model_and_processor
    alone = LlamaForCausalLM(language.config).eval()
    alone.model.load_state_dict(language.weights)
    ids = torch.arange(3, 60)[None]
    logits = model(input_ids=ids).logits
    assert torch.equal(logits[..., : len(tiny_halves.TOKENS)], alone(input_ids=ids).logits)
    assert logits.shape[-1] == len(tiny_halves.TOKENS) + 1 and not logits[..., -1].any()


@torch.no_grad()
def test_pictures_are_seen_as_by_the_vision_half(model_and_processor, vision):
    model, processor = model_and_processor
    pixels = processor.image_processor(Image.effect_mandelbrot((20, 20), (-3, -2.5, 2, 2.5), 100), return_tensors="pt")
    alone = AutoModel.from_config(vision.config).eval()
    alone.load_state_dict(vision.weights)
    states = alone(**pixels, output_hidden_states=True).hidden_states[2][:, 1:]
    expected = model.model.multi_modal_projector(states)
    assert torch.equal(torch.stack(list(model.get_image_features(**pixels).pooler_output)), expected)
    assert expected.shape == (1, TOKENS, tiny_halves.HIDDEN)


def test_a_conversation_with_a_picture(model_and_processor):
    model, processor = model_and_processor
    turns = [{"from": "human", "value": "<image>\nthe 12?"}, {"from": "gpt", "value": "the"}]
    picture = Image.new("RGB", (31, 20), "red")
    inputs = encode(processor, [turns], [picture])
    assert int((inputs["input_ids"] == model.config.image_token_index).sum()) == TOKENS == model.config.image_seq_length
    assert processor.decode(inputs["input_ids"][0], skip_special_tokens=False).replace("<image>" * TOKENS, "@") == (
        "<|im_start|>user\n@the 12?<|im_end|>\n<|im_start|>assistant\nthe<|im_end|>\n"
    )
    labels = labelled(processor, [messages(turns, 1)], [[picture]])["labels"][0]
    assert processor.decode(labels[labels >= 0], skip_special_tokens=False) == "the<|im_end|>"
    assert model(**inputs).logits.isfinite().all()


def test_the_projector_starts_the_same_whatever_was_drawn_before(language, vision, model_and_processor):
    torch.manual_seed(5)
    again, _ = joined(own_tokenizer(language), vision)
    before = torch.get_rng_state()
    for one, other in zip(again.parameters(), model_and_processor[0].parameters(), strict=True):
        assert torch.equal(one, other)
    torch.manual_seed(5)
    assert torch.equal(before, torch.get_rng_state())


@torch.no_grad()
def test_a_head_of_its_own_grows_with_the_embeddings(language, vision):
    head = torch.randn(len(tiny_halves.TOKENS), tiny_halves.HIDDEN)
    model, _ = joined(replace(own_tokenizer(language), head=head), vision)
    assert torch.equal(model.lm_head.weight[:-1], head) and not model.lm_head.weight[-1].any()
    assert model.lm_head.weight is not model.get_input_embeddings().weight


def half_of(config):
    tower = AutoModel.from_config(config).eval()
    return tower, VisionHalf(tower.config, {name: weight.detach() for name, weight in tower.state_dict().items()})


TOWER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 20, "patch_size": 4}


@torch.no_grad()
def test_a_tower_without_a_class_token_gives_every_token(language):
    tower, half = half_of(SiglipVisionConfig(**TOWER, intermediate_size=64))
    model, processor = joined(own_tokenizer(language), half)
    inputs = processor(images=[Image.new("RGB", (20, 20), "red")], text="<image>", return_tensors="pt")
    assert int((inputs["input_ids"] == model.config.image_token_index).sum()) == TOKENS
    states = tower(inputs["pixel_values"], output_hidden_states=True).hidden_states[2]
    expected = model.model.multi_modal_projector(states)
    assert torch.equal(model.get_image_features(inputs["pixel_values"]).pooler_output[0], expected[0])


def test_a_tower_with_more_tokens_beside_the_patches(language):
    _, half = half_of(Dinov2WithRegistersConfig(**TOWER, num_register_tokens=3))
    with pytest.raises(ValueError, match=r"^vision: Dinov2WithRegistersModel returns 29 tokens for 20 x 20 pixels"):
        joined(own_tokenizer(language), half)


def test_sides_that_patches_do_not_fill(language, vision):
    with pytest.raises(ValueError, match=r"^side: 21 is not a multiple of the patch size of 4 pixels"):
        joined(own_tokenizer(language), vision, 21)


def test_a_tokenizer_without_the_marks_of_chatml(language, vision):
    other = own_tokenizer(language)
    vocabulary = other.tokenizer.get_vocab()
    other.tokenizer.get_vocab = lambda: {token: i for token, i in vocabulary.items() if token != "<|im_end|>"}
    with pytest.raises(ValueError, match=r"^template: the tokenizer has no <\|im_end\|>"):
        joined(other, vision)
    _, processor = joined(other, vision, template="{{ messages[0]['role'] }}")
    assert processor.apply_chat_template([{"role": "user", "content": []}]) == "user"
