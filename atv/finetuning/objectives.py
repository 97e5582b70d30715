"""Training objectives: the loss on the answers, or the divergence of the outputs from those of a dense model."""

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
from atv.model.decoder import forward_takes
from atv.model.loading import load_processor, model_folder
from atv.model.lvlm import LVLM
from atv.model.processor_fit import require_fit
from atv.records.digests import weights_digest
from atv.records.pruning_report import BaseModel
from atv.runtime.hub import is_hub_id, split_revision

BASE = "base"


class Objective(Protocol):
    """A loss on a batch; whatever it needs besides the trained model stays out of that model's checkpoints."""

    def place(self, device: torch.device, mesh: DeviceMesh | None) -> None:
        """Moves what the objective needs to the training device, or shards it over the ranks of a mesh."""

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, int]:
        """Returns the mean over the tokens that count, and their number."""


class AnswerLoss:
    """Mean cross-entropy over the answers' tokens, as in transformers; batches have ``labels``."""

    def place(self, device: torch.device, mesh: DeviceMesh | None) -> None:
        """Does nothing: answers come with the batches."""

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, int]:
        """Returns the mean over the answers' tokens, 0 without any; a row's first token is never predicted."""
        labels = pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)
        counted = labels != IGNORED
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        logits, tokens = logits_at(counted, model, inputs).float(), int(counted.sum())
        # The mean over no tokens would be NaN; the sum is 0 and has gradients like any loss.
        return cross_entropy(logits, labels[counted]) if tokens else logits.sum(), tokens


class DistillationLoss:
    """Mean divergence of the trained model's next tokens from the dense model's (Hinton et al., arXiv 1503.02531).

    Both models' outputs are compared at every text token of the samples, in questions and answers alike. Outputs at
    visual tokens and padding are ignored. The dense model reads each batch alongside the trained one, without
    gradients, so no outputs are kept from one batch to the next.
    """

    def __init__(self, teacher: LVLM) -> None:
        self.teacher = teacher
        teacher.model.requires_grad_(False)

    def place(self, device: torch.device, mesh: DeviceMesh | None) -> None:
        """Moves the whole dense model to the device, or shards it block by block."""
        if mesh is None:
            self.teacher.model.to(device)  # type: ignore[arg-type]
        else:
            shard(self.teacher, mesh)

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> tuple[Tensor, int]:
        """Returns the mean over the batch's text tokens, and their number."""
        is_text = self.teacher.valid(batch) & ~self.teacher.visual(batch)
        return divergence(logits_at(is_text, model, batch), self.expected(batch, is_text)), int(is_text.sum())

    @torch.no_grad()
    def expected(self, batch: dict[str, Any], read: Tensor) -> Tensor:
        """Returns the dense model's logits at the tokens in ``read``, computed in the dtype of its files."""
        teacher_model: Any = self.teacher.model
        # The training step around it may use mixed precision.
        with torch.autocast(read.device.type, enabled=False):
            return logits_at(read, teacher_model, cast_floats(batch, teacher_model.dtype))


def logits_at(read: Tensor, model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """Returns the logits (tokens, vocabulary) of a batch where ``read``, bool (batch, length), is true.

    A model that supports a choice of positions computes only those that some row reads: the unused logits of a
    picture's tokens would take most of the memory.
    """
    if not forward_takes(model, "logits_to_keep"):
        return model(**batch, use_cache=False).logits[read]
    kept_positions = read.any(0).nonzero().squeeze(1)
    return model(**batch, use_cache=False, logits_to_keep=kept_positions).logits[read[:, kept_positions]]


def divergence(logits: Tensor, expected: Tensor) -> Tensor:
    """Returns the mean over tokens of the Kullback-Leibler divergence KL(expected || logits), in nats and float32.

    Args:
        logits, expected: (tokens, vocabulary), of the trained model and of the dense one.
    """
    log_probs, dense_log_probs = log_softmax(logits.float(), dim=-1), log_softmax(expected.float(), dim=-1)
    return kl_div(log_probs, dense_log_probs, reduction="batchmean", log_target=True)


def shard(lvlm: LVLM, mesh: DeviceMesh) -> None:
    """Shards the parameters block by block, then the rest, so that a rank holds only one whole block at a time."""
    for module in (*lvlm.blocks, lvlm.model):
        fully_shard(module, mesh=mesh)


@dataclass(frozen=True)
class Teacher:
    """A dense model with its name and a digest of its weights."""

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
        """Loads the model called ``name`` or, for "base", the one that a pruned folder's report names.

        Raises:
            ValueError: if the report names none, or the model cannot be loaded, has a different type or different
                tokens from the student, or does not accept pictures from the student's processor.
        """
        model_name = _base_name(base) if name == BASE else name
        try:
            checked_folder = check_folder(model_folder(model_name, trust_remote_code), trust_remote_code)
            _require_same_tokens(checked_folder, student, processor)
            model = load_whole(checked_folder)
            require_fit(processor, model)
        except ValueError as error:
            hint = "; report.json names it; choose another with --teacher" if name == BASE else ""
            raise ValueError(f"teacher: {model_name!r} cannot be used: {error}{hint}") from error
        return cls(model_name, LVLM.of(model), weights_digest(model.named_parameters()))


def _base_name(base: BaseModel | None) -> str:
    if base is None:
        raise ValueError("teacher: report.json does not say which model was pruned; name it with --teacher")
    if base.revision is None or not is_hub_id(base.model):
        return base.model
    return f"{split_revision(base.model)[0]}@{base.revision}"


def _require_same_tokens(checked_folder: CheckedFolder, student: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Checks, before weights are read, that token ids mean the same to teacher and student."""
    teacher_config, student_config = checked_folder.config, student.config
    _require_equal("type", teacher_config.model_type, student_config.model_type)
    _require_equal(
        "vocabulary's size", teacher_config.get_text_config().vocab_size, student_config.get_text_config().vocab_size
    )
    tokenizer: Any = load_processor(checked_folder.folder, checked_folder.trust_remote_code).tokenizer
    if tokenizer.get_vocab() != processor.tokenizer.get_vocab():
        raise ValueError("its tokenizer has different tokens from that of the model to train")


def _require_equal(field: str, teacher_value: Any, student_value: Any) -> None:
    if teacher_value != student_value:
        raise ValueError(f"its {field} is {teacher_value!r}, but that of the model to train is {student_value!r}")
