"""The folder of a pruned model: weights and processor with masks, report and card beside them, and back again."""

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
    """The report of a pruned model's folder, masks included.

    Raises:
        ValueError: for a folder that is not a pruned model; the message says what it lacks.
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
    """Writes all of a pruned model, config.json last, and clears away what a run kept there to go on from.

    Returns:
        The report with a row for each target.

    Raises:
        ValueError: for pathways that were decoupled, a model with adapters, one that is not the one that the masks
            pruned, or an offloaded one of which structures go whole and whose blocks were pruned in another folder.
    """
    if report.pathways:
        raise ValueError("report: a model of decoupled pathways holds each weight twice; no from_pretrained loads it")
    require_no_adapters(model)
    lvlm, offloaded = LVLM.of(model), is_offloaded(model)
    removal = removal_of(report, lvlm)
    done = removal is None or removal.is_done(model.config)
    streamed = offloaded and has_shards(folder)
    if offloaded and not streamed and not done:
        raise ValueError(
            f"folder: an offloaded model that becomes smaller is saved where its run_dir was; {str(folder)!r} has no "
            "shards"
        )
    report = replace(report, targets=target_rows(report, lvlm))

    def write(into: Path) -> None:
        if not streamed:
            _write_weights(into, model if removal is None or done else removal.smaller_model(model))
        if processor is not None:
            processor.save_pretrained(into)
        report.write_masks(into)
        write_card(into, report)

    saved_atomically(folder, write)
    if not streamed:
        clear_shards(folder)
    elif removal is None:
        finish_folder(lvlm, folder)
    else:
        finish_folder(lvlm, folder, removal.smaller_config(model.config), lambda block, own: removal.shrunk(own))
    clear_blocks(folder)
    return report


def _write_weights(folder: Path, model: PreTrainedModel) -> None:
    """Writes weights and config; of weights that are elsewhere a shard at a time is in memory."""
    with warnings.catch_warnings():
        # That a shard must fit into memory.
        warnings.filterwarnings("ignore", message="Attempting to save a model with offloaded modules")
        model.save_pretrained(folder, max_shard_size=SHARD_BYTES if is_offloaded(model) else "50GB")


def renew_card(
    folder: str | Path, scores: str | Path | None = None, *, trust_remote_code: bool = False
) -> PruningReport:
    """Writes a pruned model's card anew from its report, with what it scores if ``scores`` is a scores.json.

    The scores must be this model's, by the digest of its weights; a file of an earlier version, which has none, is
    taken as it is.

    Raises:
        ValueError: for a folder that is not a pruned model, or a file that is not there, holds no scores, or holds
            another model's.
    """
    source = Path(folder)
    report = read_pruned(source)
    if scores is not None:
        report = replace(report, scores=_scores(Path(scores), source, trust_remote_code))
    write_card(source, report)
    return report


def _scores(file: Path, folder: Path, trust_remote_code: bool) -> dict[str, ScoreRow]:
    if not file.is_file():
        raise ValueError(f"scores: no such file {str(file)!r}; `atv evaluate --output` writes scores.json")
    scored = EvaluationReport.read(file)
    if not (rows := scored.rows()):
        raise ValueError(f"scores: {str(file)!r} holds none")
    if (digest := scored.asked.get("model_digest")) is not None:
        model, _ = load_model(folder, trust_remote_code, quantized=True)
        if weights_digest(model.named_parameters()) != digest:
            whose = f"another model ({scored.asked.get('model', 'not named')!r})"
            raise ValueError(f"scores: expected those of {str(folder)!r}, and {str(file)!r} holds those of {whose}")
    return rows


def output_bytes(lvlm: LVLM, targets: Mapping[str, Target], updates_weights: bool) -> int:
    """Bytes of the written model, its masks, and the finished blocks that are kept until it is written.

    Hidden states that wait on disk (``--offload disk``) come on top: they depend on the data.

    Args:
        updates_weights: whether kept weights may change, so that a finished block holds its targets' weights, too.
    """
    model = sum(value.nbytes for value in distinct_tensors(lvlm.model).values())
    weights = [target.weight for target in targets.values()]
    masks = sum(weight.shape[0] * -(-weight.shape[1] // 8) for weight in weights)
    updated = sum(weight.nbytes for weight in weights) if updates_weights else 0
    return model + 2 * masks + updated
