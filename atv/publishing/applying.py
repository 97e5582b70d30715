"""Published masks on a fresh base model, whose folder is then the pruned one."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from atv.model.loading import load_model, load_processor, model_folder
from atv.model.lvlm import LVLM
from atv.model.parameters import targets_by_parameter
from atv.output.pruned_folder import write_pruned
from atv.publishing.delta import patched
from atv.publishing.packed_masks import DELTA, DELTA_FORMAT, PROCESSOR, kept_places
from atv.records.digests import whole_digest
from atv.records.files import empty_folder
from atv.records.masks import PackedMasks, masks_origin
from atv.records.pruning_report import MASKS, REPORT, PruningReport
from atv.verification.saved_model import SavedModel


def apply_masks(
    folder: str | Path, output: str | Path, base: str | Path, *, trust_remote_code: bool = False
) -> PruningReport:
    """Writes the pruned model that published masks make of their base model: every tensor as it was, bit for bit.

    Args:
        folder: of published masks, as ``pack_masks`` writes it.
        output: folder to write: new or empty.
        base: the model that the masks were made on: a folder, hub id, or "bundled". It is loaded whole.
        trust_remote_code: whether code that comes with the model may run.

    Returns:
        The report of the run that made the masks.

    Raises:
        ValueError: for a folder without masks or their origin, another base model, or an output that is not empty.
    """
    source, target = Path(folder), empty_folder(output, "output")
    origin, report = _origin(source), PruningReport.read(source)
    model, processor = load_model(model_folder(str(base)), trust_remote_code)
    lvlm = LVLM.of(model)
    require_origin(lvlm, origin, str(base))
    install(lvlm, report.masks, source / DELTA)
    if _digest(lvlm) != origin["becomes"]:
        raise ValueError(f"folder: {str(source)!r} does not make the model that it was packed from; fetch it again")
    if (source / PROCESSOR).is_dir():
        processor = load_processor(source / PROCESSOR, trust_remote_code)
    return write_pruned(target, model, processor, report)


def require_origin(lvlm: LVLM, origin: dict[str, str], base: str) -> None:
    """Checks that masks were made on this model.

    Raises:
        ValueError: naming both models, and what differs.
    """
    revision = f" at revision {origin['revision']}" if origin["revision"] else ""
    wanted = f"the masks were made on {origin['model']!r}{revision}"
    if (kind := type(lvlm.model).__name__) != origin["class"]:
        raise ValueError(f"base: {base!r} is a {kind}, and {wanted}, a {origin['class']}")
    if (digest := _digest(lvlm)) != origin["digest"]:
        raise ValueError(
            f"base: {base!r} is another model: the SHA-256 of its weights begins with {digest[:12]}, and {wanted}, "
            f"whose SHA-256 begins with {origin['digest'][:12]}"
        )


@torch.no_grad()
def install(lvlm: LVLM, masks: PackedMasks, updates: Path) -> None:
    """Makes the base model the pruned one, in place; ``updates`` is its delta, if there is such a file.

    Raises:
        ValueError: for a delta of another format, broken, or of another model.
    """
    views, state = targets_by_parameter(lvlm), lvlm.model.state_dict()
    for name in views:
        if any(target in masks for target in views[name]):
            state[name].masked_fill_(~kept_places(state[name], views[name], masks), 0)
    if not updates.is_file():
        return
    try:
        with safe_open(updates, "pt") as file:
            if (found := (file.metadata() or {}).get("format")) != DELTA_FORMAT:
                raise ValueError(f"{updates}: expected format {DELTA_FORMAT}, got {found!r}")
            for name in file.keys():  # noqa: SIM118
                kept = kept_places(state[name], views.get(name, {}), masks)
                state[name].masked_scatter_(kept, patched(state[name][kept], file.get_tensor(name)))
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{updates} is broken, or of another model: {error}") from error


def _digest(lvlm: LVLM) -> str:
    model = SavedModel(lvlm)
    return whole_digest(model.tensors, model.tensor)


def _origin(folder: Path) -> dict[str, str]:
    """What a folder's masks were made on.

    Raises:
        ValueError: for a folder that ``pack_masks`` did not write.
    """
    if missing := [name for name in (MASKS, REPORT) if not (folder / name).is_file()]:
        raise ValueError(f"folder: {str(folder)!r} holds no published masks: it has no {', '.join(missing)}")
    if not (origin := masks_origin(folder / MASKS)):
        raise ValueError(
            f"folder: {str(folder / MASKS)!r} does not say which model its masks were made on; `atv masks pack` writes "
            "masks that do"
        )
    return origin
