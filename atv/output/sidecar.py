"""``report.json`` in full: what a run was made from and what it came to, for those who get the folder alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atv.model.lvlm import LVLM
from atv.model.offload import stored
from atv.model.parameters import targets_by_parameter
from atv.records.provenance import git_revision, hardware
from atv.records.pruning_report import PruningReport

REPORT, MASKS = "report.json", "masks.safetensors"


def complete(report: PruningReport, lvlm: LVLM, origin: Mapping[str, Any], updates_weights: bool) -> dict[str, Any]:
    """The report with its origin (``base``, ``data``), git revision, hardware, and a row a target.

    Args:
        lvlm: the pruned model; an offloaded one gives its weights one at a time.
        origin: base model and data as the user named them.
        updates_weights: whether the criterion may have changed kept weights.
    """
    made = {"git": git_revision(), "hardware": hardware(), "updates_weights": updates_weights}
    return {**report.as_dict(), **origin, **made, "targets": _targets(report, lvlm)}


def base(model: str, lvlm: LVLM) -> dict[str, Any]:
    """Name and revision (None for a folder outside the hub's cache) of the model that is pruned, and its class."""
    config = lvlm.model.config
    revision = getattr(config, "_commit_hash", None)
    return {"model": model, "revision": revision, "class": type(lvlm.model).__name__, "type": config.model_type}


def read(folder: Path) -> dict[str, Any]:
    """The sidecar of a pruned model's folder.

    Raises:
        ValueError: for a folder that is not a pruned model; the message says what it lacks.
    """
    missing = [name for name in ("config.json", MASKS, REPORT) if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"folder: {str(folder)!r} is not a pruned model: it has no {', '.join(missing)}")
    found = json.loads((folder / REPORT).read_text())
    if absent := [key for key in ("settings", "allocation", "targets") if key not in found]:
        raise ValueError(f"folder: {REPORT} of {str(folder)!r} has no {', '.join(absent)}; `atv prune` writes them")
    return found


def _targets(report: PruningReport, lvlm: LVLM) -> dict[str, dict[str, Any]]:
    """Target -> its shape, sparsity, and how many weights are zero although they were kept."""
    rows: dict[str, dict[str, Any]] = {}
    for parameter, views in targets_by_parameter(lvlm).items():
        if chosen := {name: view for name, view in views.items() if name in report.masks}:
            values = stored(lvlm.model, parameter).detach()
            for name, view in chosen.items():
                mask = report.masks[name]
                pruned = mask.numel() - int(mask.count_nonzero())
                zeros = mask.numel() - int(view(values).count_nonzero()) - pruned
                rows[name] = {
                    "block": lvlm.block_of(name),
                    "shape": list(mask.shape),
                    "sparsity": pruned / mask.numel(),
                    "kept_zeros": zeros,
                }
    return rows
