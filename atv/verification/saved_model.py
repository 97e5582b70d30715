"""A saved model whose weights stay in its files until they are read, a check that it answers, and its error."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from transformers import ProcessorMixin

from atv.data.conversations import encode
from atv.model.batch import cast_floats
from atv.model.checkpoint import check_folder, load_dequantized
from atv.model.lvlm import LVLM
from atv.model.offload import distinct_tensors, load_mapped, stored_weight
from atv.model.removal import Removal

QUESTION = "What is in the picture?"


@dataclass(frozen=True)
class SavedModel:
    """A saved model; its weights have the names that the model gives them in memory, regardless of its files."""

    lvlm: LVLM

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All parameters and persistent buffers, tied ones once under their first name, weights on the meta device."""
        return distinct_tensors(self.lvlm.model)

    def tensor(self, name: str) -> Tensor:
        """Reads a tensor's values from the files."""
        value = self.tensors[name]
        return stored_weight(self.lvlm.model, name) if value.device.type == "meta" else value


@dataclass(frozen=True)
class WhatIsLeft(SavedModel):
    """A saved model without the structures that were removed whole: tensors are cut as they are read."""

    removal: Removal

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors, cut, under the smaller model's names."""
        return self.removal.shrunk(SavedModel(self.lvlm).tensors)

    @cached_property
    def _dense_names(self) -> dict[str, str]:
        return self.removal.renamed(SavedModel(self.lvlm).tensors)

    def tensor(self, name: str) -> Tensor:
        """Reads the remaining values of a tensor from the files."""
        dense = self._dense_names[name]
        return self.removal.shrunk_tensor(dense, SavedModel(self.lvlm).tensor(dense))


@contextmanager
def opened(folder: Path, trust_remote_code: bool = False, quantized: bool = False) -> Iterator[SavedModel]:
    """Loads a model as ``from_pretrained`` does, with every weight memory-mapped; the model can run, but slowly.

    Experts that transformers fuses during loading are written to a scratch folder (TMPDIR), which is removed at the
    end. A model from `atv quantize` is held in memory, with its weights as floats.

    Raises:
        ValueError: if files cannot be read or lack a tensor; the message names the first one.
    """
    if quantized:
        yield SavedModel(LVLM.of(load_dequantized(folder, trust_remote_code)))
        return
    with tempfile.TemporaryDirectory(prefix="atv-") as scratch:
        checked_folder = check_folder(folder, trust_remote_code)
        yield SavedModel(LVLM.of(load_mapped(checked_folder, {"": "disk"}, Path(scratch))))


class VerificationError(ValueError):
    """Raised if a folder does not match its report or its base model; the message names the first different tensor."""


def answer(model: SavedModel, processor: ProcessorMixin, tokens: int) -> str:
    """Returns the answer to a question about a picture (a grey ramp), decoded greedily up to ``tokens`` tokens.

    Raises:
        VerificationError: if generation fails, or produces no token or logits that are not finite.
    """
    conversations = [[{"role": "user", "content": QUESTION, "text": QUESTION}]]
    ramp = Image.linear_gradient("L").convert("RGB")
    try:
        inputs = cast_floats(encode(processor, conversations, [ramp], prompt=True), model.lvlm.model.dtype)
        with torch.no_grad():
            # The type of generate() does not include the options' names.
            generated = model.lvlm.model.generate(  # type: ignore[operator]
                **inputs,
                max_new_tokens=tokens,
                do_sample=False,
                num_beams=1,
                return_dict_in_generate=True,
                output_logits=True,
            )
    except Exception as error:
        raise VerificationError(f"the model does not generate: {type(error).__name__}: {error}") from error
    new_tokens = generated.sequences[0, inputs["input_ids"].shape[1] :]
    if not len(new_tokens) or not all(step.isfinite().all() for step in generated.logits):
        raise VerificationError("the model generates no token, or logits that are not finite")
    return str(processor.decode(new_tokens, skip_special_tokens=True))
