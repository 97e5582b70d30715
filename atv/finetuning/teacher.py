"""The dense model whose outputs are learned: found, loaded, and refused where its outputs mean something else."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, ProcessorMixin

from atv.model.checkpoint import check_folder, load_whole
from atv.model.loading import load_processor, model_folder
from atv.model.lvlm import LVLM
from atv.model.processor_fit import require_fit
from atv.records.digests import weights_digest
from atv.records.pruning_report import BaseModel

BASE = "base"


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
            folder = model_folder(called, trust_remote_code)
            _require_same_words(folder, student, processor, trust_remote_code)
            model = load_whole(folder, trust_remote_code)
            require_fit(processor, model)
        except ValueError as error:
            hint = "; report.json names it: name another with --teacher" if name == BASE else ""
            raise ValueError(f"teacher: {called!r} cannot be learned from: {error}{hint}") from error
        return cls(called, LVLM.of(model), weights_digest(model.named_parameters()))


def _named(base: BaseModel | None) -> str:
    if base is None:
        raise ValueError("teacher: report.json does not say which model was pruned; name it with --teacher")
    return base.model if base.revision is None else f"{base.model}@{base.revision}"


def _require_same_words(
    folder: Path, student: PreTrainedModel, processor: ProcessorMixin, trust_remote_code: bool
) -> None:
    """Checks, before weights are read, that the same ids mean the same to both."""
    theirs, own = check_folder(folder, trust_remote_code), student.config
    _refuse("type", theirs.model_type, own.model_type)
    _refuse("vocabulary's size", theirs.get_text_config().vocab_size, own.get_text_config().vocab_size)
    tokens: Any = load_processor(folder, trust_remote_code).tokenizer
    if tokens.get_vocab() != processor.tokenizer.get_vocab():
        raise ValueError("its tokenizer has other tokens than that of the model to train")


def _refuse(what: str, theirs: Any, own: Any) -> None:
    if theirs != own:
        raise ValueError(f"its {what} is {theirs!r}, that of the model to train {own!r}")
