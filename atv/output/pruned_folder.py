"""The folder of a pruned model: weights and processor with masks, report and card beside them, back again, and sent."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin

from atv.calibration.pathway_plan import PathwayPlan
from atv.model.loading import load_model
from atv.model.lvlm import LVLM, targets_by_parameter
from atv.model.offload import SHARD_BYTES, OffloadedBlocks, clear_shards, has_shards, is_offloaded, stored
from atv.model.removal import Removal
from atv.model.targets import Target
from atv.output.model_card import write_card
from atv.patterns import recorded_pattern
from atv.records.digests import weights_digest
from atv.records.evaluation_report import EvaluationReport
from atv.records.files import saved_atomically
from atv.records.masks import PackedMasks
from atv.records.pruning_report import MASKS, REPORT, PruningReport, ScoreRow, TargetReport
from atv.records.run_folder import clear_blocks

# What a run keeps for itself.
_PRIVATE = [".*", "**/.*", "blocks/*", "run.json", "allocation.json"]


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
        ValueError: for pathways that were decoupled, a model that is not the one that the masks pruned, or an offloaded
            one of which structures go whole and whose blocks were pruned in another folder.
    """
    if report.pathways:
        raise ValueError("report: a model of decoupled pathways holds each weight twice; no from_pretrained loads it")
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
            _write_weights(into, model if removal is None or done else removal.model(model))
        if processor is not None:
            processor.save_pretrained(into)
        report.write_masks(into)
        write_card(into, report)

    saved_atomically(folder, write)
    if not streamed:
        clear_shards(folder)
    elif removal is None:
        OffloadedBlocks(lvlm, folder).write_rest()
    else:
        OffloadedBlocks(lvlm, folder).write_rest(removal.config(model.config), lambda block, own: removal.left(own))
    clear_blocks(folder)
    return report


def _write_weights(folder: Path, model: PreTrainedModel) -> None:
    """Writes weights and config; of weights that are elsewhere a shard at a time is in memory."""
    with warnings.catch_warnings():
        # That a shard must fit into memory.
        warnings.filterwarnings("ignore", message="Attempting to save a model with offloaded modules")
        model.save_pretrained(folder, max_shard_size=SHARD_BYTES if is_offloaded(model) else "50GB")


def removal_of(report: PruningReport, lvlm: LVLM) -> Removal | None:
    """What was taken out whole of the model that a report is of, so that its folder holds a smaller one; else None."""
    if not report.smaller:
        return None
    (plan,) = report.plans.values()
    return recorded_pattern(plan["pattern"]).fitted(lvlm).removal(lvlm, report.masks)


def masks_of(report: PruningReport, lvlm: LVLM) -> PackedMasks:
    """The masks in the shapes that this model has: the one that was pruned, or the smaller one that was saved of it."""
    return left_of(report, _done(report, lvlm))


def left_of(report: PruningReport, removal: Removal | None) -> PackedMasks:
    """The masks in the shapes that a model has of which ``removal`` was taken out; None is the one that was pruned."""
    return report.masks if removal is None else PackedMasks(removal.masks(report.masks))


def _done(report: PruningReport, lvlm: LVLM) -> Removal | None:
    """What this model is without, if it is the smaller one; None for the one that was pruned."""
    removal = removal_of(report, lvlm)
    return removal if removal is not None and removal.is_done(lvlm.model.config) else None


def renew_card(folder: str | Path, scores: Path | None = None, *, trust_remote_code: bool = False) -> PruningReport:
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
        report = replace(report, scores=_scores(scores, source, trust_remote_code))
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


def target_rows(report: PruningReport, lvlm: LVLM) -> dict[str, TargetReport]:
    """A row a mask, in the order of the model's parameters; an offloaded model gives its weights one at a time.

    The model is the one that was pruned, or the smaller one that was saved of it.

    Raises:
        ValueError: for a mask that does not fit the model, or prunes a weight that is not zero.
    """
    removal = _done(report, lvlm)
    left = left_of(report, removal)
    # What this model calls the targets that are in it -> the names of their masks.
    pruned_as = {name: name for name in report.masks} if removal is None else removal.names(report.masks)
    zeros: dict[str, int] = {}
    for parameter, views in targets_by_parameter(lvlm).items():
        if chosen := {name: view for name, view in views.items() if name in left}:
            values = stored(lvlm.model, parameter).detach()
            zeros |= {pruned_as[name]: _kept_zeros(name, view(values), left[name]) for name, view in chosen.items()}
    if absent := sorted(pruned_as.values() - zeros.keys()):
        raise ValueError(f"report: it has a mask of {absent[0]}, and the model no such Linear or expert")
    # Of a block that is gone nothing is left to count.
    rows = zeros | dict.fromkeys(report.masks.keys() - zeros.keys(), 0)
    return {name: _row(lvlm.block_of(name), report.masks[name], count) for name, count in rows.items()}


def _row(block: int, mask: Tensor, kept_zeros: int) -> TargetReport:
    pruned = mask.numel() - int(mask.count_nonzero())
    return TargetReport(block, list(mask.shape), pruned / mask.numel(), kept_zeros)


def _kept_zeros(name: str, weight: Tensor, mask: Tensor) -> int:
    """How many weights are zero among those that a mask keeps."""
    mask = mask.to(weight.device)
    if mask.shape != weight.shape:
        raise ValueError(f"report: the mask of {name} is {list(mask.shape)}, the weight {list(weight.shape)}")
    if weight[~mask].any():
        raise ValueError(f"report: its mask of {name} prunes weights that are not zero; is it of this model?")
    return int(mask.count_nonzero()) - int(weight.count_nonzero())


def output_bytes(lvlm: LVLM, targets: Mapping[str, Target], plan: PathwayPlan) -> int:
    """Bytes of the written model, its masks, and the finished blocks that are kept until it is written.

    Hidden states that wait on disk (``--offload disk``) come on top: they depend on the data.
    """
    tied = getattr(lvlm.model, "all_tied_weights_keys", {})
    state = ((name, value) for name, value in lvlm.model.state_dict().items() if name not in tied)
    model = sum(value.numel() * value.itemsize for _, value in state)
    weights = [target.weight for target in targets.values()]
    masks = sum(weight.shape[0] * -(-weight.shape[1] // 8) for weight in weights)
    updated = sum(weight.numel() * weight.itemsize for weight in weights) if plan.updates_weights else 0
    return model + 2 * masks + updated


def check_login(name: str) -> None:
    """Checks, before long work, that ``name`` can be a repository and that the hub knows who asks.

    The token is huggingface_hub's own business: it is never read, printed or written here.

    Raises:
        ValueError: for a name that is none, or without a login that the hub takes.
    """
    try:
        validate_repo_id(name)
        HfApi().whoami()
    except (LocalTokenNotFoundError, HfHubHTTPError) as error:
        # The hub's own message may quote request headers.
        raise ValueError(f"push_to_hub: no login that the hub takes ({type(error).__name__}): hf auth login") from None
    except ValueError as error:
        raise ValueError(f"push_to_hub: {error}") from error


def push(folder: Path, name: str) -> str:
    """Makes the repository if need be and uploads model, processor, masks, report, card and figure; returns its URL."""
    api = HfApi()
    url = api.create_repo(name, exist_ok=True)
    api.upload_folder(
        repo_id=name, folder_path=folder, ignore_patterns=_PRIVATE, commit_message="Upload a model pruned by atv"
    )
    return str(url)
