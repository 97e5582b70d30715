"""The language half: a small causal language model and its tokenizer, in float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.utils import logging


@dataclass(frozen=True)
class LanguageHalf:
    """A causal language model in float32.

    Attributes:
        config: config of the causal language model.
        weights: weights of its decoder, under transformers' names without the prefix.
        embeddings: name of the token embeddings in ``weights``, (vocabulary, hidden).
        head: weight of the language model's head, (vocabulary, hidden); None if it is tied to the embeddings.
        tokenizer: the model's own tokenizer.
    """

    config: PreTrainedConfig
    weights: dict[str, Tensor]
    embeddings: str
    head: Tensor | None
    tokenizer: PreTrainedTokenizerBase


def language_from_gguf(file: Path) -> LanguageHalf:
    """Reads a GGUF file and dequantizes its weights to float32.

    Every weight is one product and one sum of stored numbers (gguf's ``dequantize``, in numpy), so all machines get the
    same bits.

    Raises:
        ValueError: if the file is not GGUF, or if transformers cannot read its model type from GGUF.
    """
    with _quiet_loading(file):
        half = _load(file.parent, gguf_file=file.name)
        _restore_splitting(half.tokenizer, file)
    # transformers records that the weights were quantized; in float32 they are ordinary weights.
    for attribute in ("quantization_config", "_name_or_path"):
        half.config.__dict__.pop(attribute, None)
    return half


def language_from_folder(folder: Path) -> LanguageHalf:
    """Reads a folder saved with ``save_pretrained``.

    Raises:
        ValueError: if the folder lacks a causal language model or a tokenizer.
    """
    with _quiet_loading(folder):
        return _load(folder, use_safetensors=True)


def _load(folder: Path, **options: Any) -> LanguageHalf:
    shared_options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    gguf_options = {key: value for key, value in options.items() if key == "gguf_file"}
    tokenizer = AutoTokenizer.from_pretrained(folder, **gguf_options, **shared_options)
    from_pretrained: Any = AutoModelForCausalLM.from_pretrained
    model, info = from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **options, **shared_options)
    # transformers would initialize missing weights at random.
    if info["missing_keys"] or info["mismatched_keys"]:
        raise ValueError(f"it lacks {', '.join(sorted(map(str, info['missing_keys'] or info['mismatched_keys']))[:3])}")
    decoder: Any = model.base_model
    head = model.get_output_embeddings()
    weights = {name: weight.detach() for name, weight in decoder.state_dict().items()}
    tied = head is None or model.config.tie_word_embeddings
    embedding_weight = decoder.get_input_embeddings().weight
    embeddings = next(name for name, weight in decoder.named_parameters() if weight is embedding_weight)
    return LanguageHalf(model.config, weights, embeddings, None if tied else head.weight.detach(), tokenizer)


def _restore_splitting(tokenizer: Any, file: Path) -> None:
    """Restores how text is split before tokens are merged, which transformers does not read from GGUF.

    SmolLM2 splits off every digit first. Otherwise a blank line before a number would become two tokens that SmolLM2
    never saw there.
    """
    from gguf import GGUFReader

    field = GGUFReader(file).fields.get("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
        )


@contextmanager
def _quiet_loading(source: Path) -> Iterator[None]:
    """Hides transformers' progress bars, and turns its errors for unreadable files into one line."""
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except (ImportError, OSError, ValueError, KeyError, IndexError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"language: {str(source)!r} cannot be read as a language model: {reason}") from error
    finally:
        if bars:
            logging.enable_progress_bar()
