"""Joins two halves into transformers' LLaVA, with a processor; the projector between them is untrained."""

from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.initialization import no_init_weights
from transformers.models.bit import BitImageProcessorPil

from atv.everyday.assembly.language_half import LanguageHalf
from atv.everyday.assembly.vision_half import VisionHalf

IMAGE = "<image>"
# The format that SmolLM2 was trained on, plus <image> for every picture, and without its usual system prompt.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LANGUAGE_PREFIX, VISION_PREFIX = "model.language_model.", "model.vision_tower."
PROJECTOR_PREFIX = "model.multi_modal_projector."


def joined(
    language: LanguageHalf, vision: VisionHalf, side: int | None = None, template: str | None = None
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Joins both halves.

    The tokenizer gains the token ``<image>``, whose row in the embeddings is zero. LLaVA replaces it by the tokens of
    the picture. As an answer it has a logit of 0, while likely tokens have logits above 10.

    Args:
        language: the half that reads and answers.
        vision: the half that sees.
        side: height and width of pictures in pixels; default: the size that the tower was made for.
        template: chat template; default: ChatML, if the tokenizer has its marks.

    Returns:
        The model in float32, with a projector drawn from a fixed seed, and the processor.

    Raises:
        ValueError: if the tower returns anything but one token per patch, with or without a class token, or if there
            is no template and the tokenizer lacks the marks of ChatML.
    """
    side, tokenizer = side or vision.config.image_size, language.tokenizer
    template = template or _chatml(tokenizer)
    model = _build_model(_config(language, vision, _add_image_token(tokenizer), side), language, vision)
    extra_tokens = _tokens_beside_patches(model.model.vision_tower, side)
    model.config.vision_feature_select_strategy = "default" if extra_tokens else "full"
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return model, _processor(tokenizer, vision, side, extra_tokens, template)


def _config(language: LanguageHalf, vision: VisionHalf, image_token: int, side: int) -> LlavaConfig:
    tied, vocabulary_size = language.head is None, max(language.config.vocab_size, image_token + 1)
    text = language.config.to_dict() | {"vocab_size": vocabulary_size, "tie_word_embeddings": tied}
    text.pop("architectures", None)
    return LlavaConfig(
        vision_config=vision.config.to_dict(),
        text_config=text,
        image_token_index=image_token,
        image_seq_length=(side // vision.config.patch_size) ** 2,
        # The last block of the tower is the one whose output is used.
        vision_feature_layer=-1,
        tie_word_embeddings=tied,
        dtype="float32",
    )


def _build_model(config: LlavaConfig, language: LanguageHalf, vision: VisionHalf) -> LlavaForConditionalGeneration:
    with torch.random.fork_rng(devices=[]), no_init_weights():
        model = LlavaForConditionalGeneration(config).eval()
    # Skipping the random initialization also skips this, and the head must be tied to the embeddings.
    model.tie_weights()
    vocabulary_size = model.get_input_embeddings().num_embeddings
    weights = {LANGUAGE_PREFIX + name: weight for name, weight in language.weights.items()}
    weights |= {VISION_PREFIX + name: weight for name, weight in vision.weights.items()}
    weights[LANGUAGE_PREFIX + language.embeddings] = _with_zero_rows(
        language.weights[language.embeddings], vocabulary_size
    )
    if language.head is not None:
        weights["lm_head.weight"] = _with_zero_rows(language.head, vocabulary_size)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    missing_weights = [name for name in missing if not name.startswith(PROJECTOR_PREFIX) and name != "lm_head.weight"]
    if missing_weights or unexpected:
        raise ValueError(
            f"language, vision: the halves do not fit LLaVA: {', '.join([*missing_weights, *unexpected][:4])}"
        )
    _draw_projector(model)
    return model


def _draw_projector(model: LlavaForConditionalGeneration) -> None:
    """Initializes the projector as LLaVA does, from a separate seed."""
    generator = torch.Generator().manual_seed(0)
    for linear in (model.model.multi_modal_projector.linear_1, model.model.multi_modal_projector.linear_2):
        nn.init.normal_(linear.weight, std=0.02, generator=generator)
        nn.init.zeros_(linear.bias)


def _with_zero_rows(rows: Tensor, count: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(count - len(rows), rows.shape[1])])


def _add_image_token(tokenizer: PreTrainedTokenizerBase) -> int:
    if IMAGE not in tokenizer.get_vocab():
        tokenizer.add_tokens([AddedToken(IMAGE, special=True, normalized=False)], special_tokens=True)
    tokenizer.padding_side = "left"
    return int(tokenizer.convert_tokens_to_ids(IMAGE))  # type: ignore[arg-type]


@torch.no_grad()
def _tokens_beside_patches(tower: PreTrainedModel, side: int) -> int:
    """Returns how many tokens a tower adds to those of the patches, tried on a blank picture: 0, or 1 class token."""
    patch = tower.config.patch_size
    if side % patch:
        raise ValueError(f"side: {side} is not a multiple of the patch size of {patch} pixels")
    count = tower(torch.zeros(1, 3, side, side), output_hidden_states=True).hidden_states[-1].shape[1]
    extra_tokens = count - (side // patch) ** 2
    if extra_tokens not in (0, 1):
        raise ValueError(
            f"vision: {type(tower).__name__} returns {count} tokens for {side} x {side} pixels in patches of {patch}; "
            "LLaVA expects one per patch, with or without a class token before them"
        )
    return extra_tokens


def _chatml(tokenizer: PreTrainedTokenizerBase) -> str:
    missing = [mark for mark in ("<|im_start|>", "<|im_end|>") if mark not in tokenizer.get_vocab()]
    if missing:
        raise ValueError(
            f"template: the tokenizer has no {' and no '.join(missing)}, so its chats are not in ChatML; pass a file "
            "with a chat template that writes <image> for parts of type image"
        )
    return CHAT_TEMPLATE


def _processor(tokenizer: Any, vision: VisionHalf, side: int, extra_tokens: int, template: str) -> LlavaProcessor:
    size = {"height": side, "width": side}
    image_processor = BitImageProcessorPil(
        size=size, crop_size=size, image_mean=list(vision.mean), image_std=list(vision.std)
    )
    tokenizer.chat_template = None
    return LlavaProcessor(
        image_processor,
        tokenizer,
        patch_size=vision.config.patch_size,
        vision_feature_select_strategy="default" if extra_tokens else "full",
        num_additional_image_tokens=extra_tokens,
        chat_template=template,
    )
