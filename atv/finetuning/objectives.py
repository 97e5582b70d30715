"""What training lowers: the loss of the answers, or how far the outputs are from those of a dense model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy, kl_div, log_softmax, pad
from transformers import PreTrainedModel, ProcessorMixin

from atv.data.labels import IGNORED
from atv.model.batch import cast_floats
from atv.model.checkpoint import CheckedFolder, check_folder, load_whole
from atv.model.decoder import takes
from atv.model.loading import load_processor, model_folder
from atv.model.lvlm import LVLM
from atv.model.processor_fit import require_fit
from atv.records.digests import weights_digest
from atv.records.pruning_report import BaseModel
from atv.runtime.hub import is_hub_id, split_revision

BASE = "base"


class Objective(Protocol):
    """A loss of a batch; what it needs beside the trained model it keeps out of that model's checkpoints."""

    def place(self, device: torch.device, mesh: DeviceMesh | None) -> None:
        """Takes what it needs to where training runs: the device, or shards of it to each rank of a mesh."""

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, int]:
        """The mean over the tokens that count, and how many these are."""


class AnswerLoss:
    """Mean cross-entropy of the answers' tokens, as transformers has it; batches have ``labels``."""

    def place(self, device: torch.device, mesh: DeviceMesh | None) -> None:
        """Answers come with the batches."""

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, int]:
        """The mean over the answers' tokens, 0 where there are none; a row's first token is predicted by none."""
        labels = pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)
        counts = labels != IGNORED
        asked = {name: value for name, value in batch.items() if name != "labels"}
        logits, tokens = logits_at(counts, model, asked).float(), int(counts.sum())
        # The mean over nothing is not a number; the sum is 0, and has gradients as any loss.
        return cross_entropy(logits, labels[counts]) if tokens else logits.sum(), tokens


class DistillationLoss:
    """Mean divergence of the trained model's next tokens from those of the dense one (Hinton et al., arXiv 1503.02531).

    It counts what both give at every text token of the samples, questions and answers alike. What follows a visual
    token is never read, and padding is none. The dense model reads the batch beside the trained one, without gradients,
    so that no output is kept from one batch to the next.
    """

    def __init__(self, teacher: LVLM) -> None:
        self.teacher = teacher
        teacher.model.requires_grad_(False)

    def place(self, device: torch.device, mesh: DeviceMesh | None) -> None:
        """The whole dense model on the device, or block by block in shards."""
        if mesh is None:
            self.teacher.model.to(device)  # type: ignore[arg-type]
        else:
            shard(self.teacher, mesh)

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, int]:
        """The mean over the batch's text tokens."""
        read = self.teacher.valid(batch) & ~self.teacher.visual(batch)
        return divergence(logits_at(read, model, batch), self.expected(batch, read)), int(read.sum())

    @torch.no_grad()
    def expected(self, batch: dict[str, Any], read: Tensor) -> Tensor:
        """The dense model's logits at the tokens that are read, computed in the dtype of its files."""
        own: Any = self.teacher.model
        # The step that trains beside it may be one of mixed precision.
        with torch.autocast(read.device.type, enabled=False):
            return logits_at(read, own, cast_floats(batch, own.dtype))


def logits_at(read: Tensor, model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """The logits (tokens, vocabulary) of a batch at the tokens where ``read``, bool (batch, length), is true.

    A model that can be asked for some positions alone computes those that any row reads: the logits of a picture's
    tokens, which nothing follows, would be most of the memory.
    """
    if not takes(model, "logits_to_keep"):
        return model(**batch, use_cache=False).logits[read]
    kept = read.any(0).nonzero().squeeze(1)
    return model(**batch, use_cache=False, logits_to_keep=kept).logits[read[:, kept]]


def divergence(logits: Tensor, expected: Tensor) -> Tensor:
    """Mean over tokens of the Kullback-Leibler divergence KL(expected || logits), in nats and float32.

    Args:
        logits, expected: (tokens, vocabulary), of the trained model and of the dense one.
    """
    own, dense = log_softmax(logits.float(), dim=-1), log_softmax(expected.float(), dim=-1)
    return kl_div(own, dense, reduction="batchmean", log_target=True)


def shard(lvlm: LVLM, mesh: DeviceMesh) -> None:
    """Shards the parameters block by block, then all others, so that a rank holds one whole block at a time."""
    for module in (*lvlm.blocks, lvlm.model):
        fully_shard(module, mesh=mesh)


@dataclass(frozen=True)
class Teacher:
    """A dense model: what it is called, itself, and a digest of its weights."""

    name: str
    lvlm: LVLM
    digest: str

    @classmethod
    def of(
        cls,
        name: str,
        base: BaseModel | None,
        student: PreTrainedModel,
        processor: ProcessorMixin,
        trust_remote_code: bool = False,
    ) -> "Teacher":
        """The model called ``name``, or for "base" the one that a pruned folder's report names.

        Raises:
            ValueError: for a report that names none, a model that cannot be loaded, or one that is of another type
                than the student, has other tokens, or does not take what the student's processor makes of pictures.
        """
        called = _named(base) if name == BASE else name
        try:
            checked = check_folder(model_folder(called, trust_remote_code), trust_remote_code)
            _require_same_words(checked, student, processor)
            model = load_whole(checked)
            require_fit(processor, model)
        except ValueError as error:
            hint = "; report.json names it: name another with --teacher" if name == BASE else ""
            raise ValueError(f"teacher: {called!r} cannot be learned from: {error}{hint}") from error
        return cls(called, LVLM.of(model), weights_digest(model.named_parameters()))


def _named(base: BaseModel | None) -> str:
    if base is None:
        raise ValueError("teacher: report.json does not say which model was pruned; name it with --teacher")
    if base.revision is None or not is_hub_id(base.model):
        return base.model
    return f"{split_revision(base.model)[0]}@{base.revision}"


def _require_same_words(checked: CheckedFolder, student: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Checks, before weights are read, that the same ids mean the same to both."""
    theirs, own = checked.config, student.config
    _refuse("type", theirs.model_type, own.model_type)
    _refuse("vocabulary's size", theirs.get_text_config().vocab_size, own.get_text_config().vocab_size)
    tokens: Any = load_processor(checked.folder, checked.trust_remote_code).tokenizer
    if tokens.get_vocab() != processor.tokenizer.get_vocab():
        raise ValueError("its tokenizer has other tokens than that of the model to train")


def _refuse(what: str, theirs: Any, own: Any) -> None:
    if theirs != own:
        raise ValueError(f"its {what} is {theirs!r}, that of the model to train {own!r}")
