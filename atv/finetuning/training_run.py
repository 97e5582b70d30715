"""A fine-tuning run, from a pruned model to the trained parameters, and back into a model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from zipfile import is_zipfile

import lightning as L
from torch import Tensor, nn
from torch.utils.data import Dataset

from atv.finetuning.batches import loader
from atv.finetuning.fit_trainer import INTENDED
from atv.finetuning.module import SparseFinetuning
from atv.finetuning.objectives import Objective
from atv.finetuning.settings import Settings
from atv.finetuning.sites import Site, pruned_sites, still_zero
from atv.finetuning.updates import merge, train_kept, train_low_rank
from atv.model.lvlm import LVLM
from atv.runtime.remaining import Remaining
from atv.runtime.trainer import quiet


@dataclass(frozen=True)
class Outcome:
    """What was trained: parameters by name (whole on the first rank), optimizer steps, validation losses by step."""

    weights: dict[str, Tensor]
    steps: int
    validation: list[dict[str, float]]


def prepare(lvlm: LVLM, masks: Mapping[str, Tensor], settings: Settings) -> list[Site]:
    """Makes what is to be trained trainable, and nothing else.

    Raises:
        ValueError: when masks and model do not belong together, or a setting does not fit the model.
    """
    sites = pruned_sites(lvlm, masks)
    still_zero(sites)
    lvlm.model.requires_grad_(False)
    for parameter in _further(lvlm.model, settings.train_also):
        parameter.requires_grad_(True)
    if settings.lora_rank is None:
        train_kept(sites)
    else:
        train_low_rank(sites, settings.lora_rank, settings.lora_alpha)
    return sites


def _further(model: nn.Module, patterns: Iterable[str]) -> list[nn.Parameter]:
    """The parameters whose names match a shell-style pattern."""
    named = dict(model.named_parameters())
    chosen = []
    for pattern in patterns:
        matching = [parameter for name, parameter in named.items() if fnmatch(name, pattern)]
        if not matching:
            raise ValueError(f"train_also: {pattern!r} matches no parameter; one is called {next(iter(named))!r}")
        chosen += matching
    return chosen


def fit(
    lvlm: LVLM,
    objective: Objective,
    settings: Settings,
    batches: Dataset,
    held_out: Dataset | None,
    trainer: L.Trainer,
    checkpoint: Path,
    workers: int = 0,
) -> Outcome:
    """Trains a prepared model on every batch once, in order; goes on from ``checkpoint`` where there is one.

    Args:
        batches: of all epochs and ranks; their number is a multiple of ranks times accumulated batches times epochs.
            They have what the objective needs.
        held_out: batches whose loss is shown before, after every epoch and so at the end.

    Raises:
        ValueError: for a checkpoint that is not whole.
    """
    if checkpoint.is_file() and not is_zipfile(checkpoint):
        raise ValueError(f"output: {str(checkpoint)!r} is no whole checkpoint; take it away to begin the training anew")
    # torch declares no length of a data set; these have one.
    count = len(batches)  # type: ignore[arg-type]
    on_this_rank, accumulated = count // trainer.world_size, trainer.accumulate_grad_batches
    module = SparseFinetuning(lvlm, objective, settings, on_this_rank // accumulated)
    sampler = Remaining(count, trainer.global_rank, trainer.world_size, lambda: trainer.global_step * accumulated)
    trainer.val_check_interval = on_this_rank // settings.epochs
    with quiet(*INTENDED):
        trainer.fit(
            module,
            loader(batches, sampler, workers),
            None if held_out is None else loader(held_out, None, 0),
            ckpt_path=checkpoint if checkpoint.is_file() else None,
            weights_only=True,
        )
    state = module.own(trainer.strategy.lightning_module_state_dict())
    weights = {name.removeprefix("model."): value.detach().cpu() for name, value in state.items()}
    return Outcome(weights, trainer.global_step, module.validation)


def finish(lvlm: LVLM, masks: Mapping[str, Tensor], settings: Settings, weights: Mapping[str, Tensor]) -> None:
    """Puts trained parameters into the pruned model that they were made from, and leaves it an ordinary one.

    What was not trained keeps its bits, and everything its dtype.

    Raises:
        ValueError: when a pruned weight is not zero.
    """
    sites = prepare(lvlm, masks, settings)
    unknown = lvlm.model.load_state_dict(weights, strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"weights: the model has no parameter {unknown[0]!r}")
    merge(sites)
    still_zero(sites)
    lvlm.model.requires_grad_(True)
