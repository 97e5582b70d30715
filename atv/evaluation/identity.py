"""The identity of a model's answers: everything that affects them besides the weights and the questions."""

import json
from typing import Any

import lightning as L
from transformers import PreTrainedModel, ProcessorMixin

from atv.records.digests import content_digest, without_origin
from atv.records.run_folder import plain
from atv.runtime.trainer import precision

# Settings that every call of generate overrides, and settings that greedy decoding does not use.
_IRRELEVANT_SETTINGS = frozenset(
    {"do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "num_beams", "use_cache", "pad_token_id"}
    | {"max_new_tokens", "max_length", "return_dict_in_generate", "num_return_sequences"}
)
_PICTURE_PROCESSORS = ("image_processor", "video_processor", "feature_extractor")


def answer_settings(model: PreTrainedModel, processor: ProcessorMixin) -> dict[str, Any]:
    """Returns what a model computes and decodes with, and what its processor makes of words and pictures.

    Short settings are returned as they are, so that a difference can be named; config, chat template and tokenizer are
    returned as digests.
    """
    generation = {} if model.generation_config is None else model.generation_config.to_diff_dict()
    return {
        "config": content_digest(without_origin(model.config.to_dict())),
        "generation config": without_origin(generation, _IRRELEVANT_SETTINGS),
        **prompt_settings(processor),
    }


def asked_with(
    model: PreTrainedModel, processor: ProcessorMixin, max_new_tokens: Any, trainer: L.Trainer | None = None
) -> dict[str, Any]:
    """Returns what must be equal before two models' answers can be compared, as JSON would load it.

    Args:
        max_new_tokens: maximum length of an answer, or one maximum per task.
        trainer: the trainer, if it may compute in a precision different from the model's.
    """
    settings = {name: value for name, value in answer_settings(model, processor).items() if name != "config"}
    precision_settings = {} if trainer is None else precision(trainer)
    return plain({"max_new_tokens": max_new_tokens, **settings, **precision_settings})


def prompt_settings(processor: ProcessorMixin) -> dict[str, Any]:
    """Returns what a processor makes of words and pictures; if it is equal, two models are asked the same questions."""
    tokenizer: Any = getattr(processor, "tokenizer", processor)
    template = getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)
    picture_processors = {
        name: picture_processor
        for name in _PICTURE_PROCESSORS
        if (picture_processor := getattr(processor, name, None)) is not None
    }
    settings = {name: value for name, value in vars(processor).items() if isinstance(value, str | int | float | list)}
    return {
        "chat template": content_digest(template),
        "tokenizer": content_digest(_tokenizer_content(tokenizer)),
        "processor": without_origin(settings, frozenset({"chat_template"})),
        "pictures": {
            name: without_origin(picture_processor.to_dict()) for name, picture_processor in picture_processors.items()
        },
    }


def _tokenizer_content(tokenizer: Any) -> Any:
    """Returns vocabulary, merges, special tokens and what the tokenizer adds around a text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    # The tokenizer remembers how the last batch was padded.
    padding_settings = frozenset({"padding", "truncation"})
    content = (
        tokenizer.get_vocab() if backend is None else without_origin(json.loads(backend.to_str()), padding_settings)
    )
    return {"inside": content, "special": tokenizer.special_tokens_map}
