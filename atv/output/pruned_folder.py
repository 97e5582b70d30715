"""Writes and reads the folder of a pruned model: weights, processor, masks, report and card."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel, ProcessorMixin

from atv.model.block_shards import SHARD_BYTES, clear_shards, finish_folder, has_shards
from atv.model.loading import load_model
from atv.model.lvlm import LVLM
from atv.model.offload import distinct_tensors, is_offloaded
from atv.model.ordinary import require_no_adapters
from atv.model.targets import Target
from atv.output.model_card import write_card
from atv.output.report_masks import removal_of, target_rows
from atv.records.digests import weights_digest
from atv.records.evaluation_report import EvaluationReport
from atv.records.files import saved_atomically
from atv.records.pruning_report import MASKS, REPORT, PruningReport, ScoreRow
from atv.records.run_folder import clear_blocks


def read_pruned(folder: Path) -> PruningReport:
    """Reads the report of a pruned model's folder, including the masks.

    Raises:
        ValueError: if the folder is not a pruned model's; the message says what it lacks.
    """
    missing = [name for name in ("config.json", MASKS, REPORT) if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"folder: {str(folder)!r} is not a pruned model: it has no {', '.join(missing)}")
    report = PruningReport.read(folder)
    if not report.targets:
        raise ValueError(
            f"folder: {REPORT} of {str(folder)!r} has no targets: its model was not written by `atv prune` or atv.save"
        )
    return report


def write_pruned(
    folder: Path, model: PreTrainedModel, processor: ProcessorMixin | None, report: PruningReport
) -> PruningReport:
    """Writes all files of a pruned model, config.json last, and removes what a run stored there for resuming.

    Returns:
        The report with a row for each target.

    Raises:
        ValueError: if pathways were decoupled, the model has adapters, the masks are not this model's, or an offloaded
            model from which structures are removed was pruned with another folder as its ``run_dir``.
    """
    if report.pathways:
        raise ValueError(
            "report: a model of decoupled pathways holds each weight twice; from_pretrained cannot load it"
        )
    require_no_adapters(model)
    lvlm, offloaded = LVLM.of(model), is_offloaded(model)
    removal = removal_of(report, lvlm)
    removal_done = removal is None or removal.is_done(model.config)
    streamed = offloaded and has_shards(folder)
    if offloaded and not streamed and not removal_done:
        raise ValueError(
            f"folder: an offloaded model that becomes smaller must be saved in its run_dir; {str(folder)!r} has no "
            "shards"
        )
    report = replace(report, targets=target_rows(report, lvlm))

    def write(target: Path) -> None:
        if not streamed:
            _write_weights(target, model if removal is None or removal_done else removal.smaller_model(model))
        if processor is not None:
            processor.save_pretrained(target)
        report.write_masks(target)
        write_card(target, report)

    saved_atomically(folder, write)
    if not streamed:
        clear_shards(folder)
    elif removal is None:
        finish_folder(lvlm, folder)
    else:
        finish_folder(
            lvlm, folder, removal.smaller_config(model.config), lambda block, tensors: removal.shrunk(tensors)
        )
    clear_blocks(folder)
    return report


def _write_weights(folder: Path, model: PreTrainedModel) -> None:
    """Writes weights and config, with one shard at a time in memory if the weights are offloaded."""
    with warnings.catch_warnings():
        # The warning that a shard must fit into memory.
        warnings.filterwarnings("ignore", message="Attempting to save a model with offloaded modules")
        model.save_pretrained(folder, max_shard_size=SHARD_BYTES if is_offloaded(model) else "50GB")


def renew_card(
    folder: str | Path, scores: str | Path | None = None, *, trust_remote_code: bool = False
) -> PruningReport:
    """Rewrites a pruned model's card from its report; adds the model's scores if ``scores`` is a scores.json.

    The scores must belong to this model, according to the digest of its weights. Files of earlier versions have no
    digest and are not checked.

    Raises:
        ValueError: if the folder is not a pruned model's, or the file of scores does not exist, holds no scores, or
            holds those of a different model.
    """
    source = Path(folder)
    report = read_pruned(source)
    if scores is not None:
        report = replace(report, scores=_checked_scores(Path(scores), source, trust_remote_code))
    write_card(source, report)
    return report


def _checked_scores(file: Path, folder: Path, trust_remote_code: bool) -> dict[str, ScoreRow]:
    if not file.is_file():
        raise ValueError(f"scores: no such file {str(file)!r}; `atv evaluate --output` writes scores.json")
    evaluation = EvaluationReport.read(file)
    if not (rows := evaluation.rows()):
        raise ValueError(f"scores: {str(file)!r} holds no scores")
    if (digest := evaluation.asked.get("model_digest")) is not None:
        model, _ = load_model(folder, trust_remote_code, quantized=True)
        if weights_digest(model.named_parameters()) != digest:
            owner = f"another model ({evaluation.asked.get('model', 'not named')!r})"
            raise ValueError(f"scores: expected those of {str(folder)!r}, but {str(file)!r} holds those of {owner}")
    return rows


def output_bytes(lvlm: LVLM, targets: Mapping[str, Target], updates_weights: bool) -> int:
    """Computes the bytes of the written model, its masks, and the finished blocks that are stored until then.

    Hidden states that wait on disk (``--offload disk``) are not included, since they depend on the data.

    Args:
        updates_weights: whether kept weights may change, in which case a finished block also stores its targets'
            weights.
    """
    model = sum(value.nbytes for value in distinct_tensors(lvlm.model).values())
    weights = [target.weight for target in targets.values()]
    masks = sum(weight.shape[0] * -(-weight.shape[1] // 8) for weight in weights)
    updated_weights = sum(weight.nbytes for weight in weights) if updates_weights else 0
    return model + 2 * masks + updated_weights
