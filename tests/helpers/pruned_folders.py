"""Folders as `atv prune` leaves them, of tiny models that have no processor."""

from safetensors.torch import load_file, save_file

import atv
from atv.model.lvlm import LVLM
from atv.output.model_card import leave_card
from atv.output.sidecar import base, complete
from atv.plugins import resolve


def save_pruned(model, batches, folder, **options):
    """Prunes the model, saves it with its sidecar, and returns the report."""
    lvlm = LVLM.of(model)
    origin = {"base": base("tiny/dense", lvlm)}
    report = atv.prune(model, batches, run_dir=folder, **options)
    model.save_pretrained(folder)
    criterion = resolve(options.get("criterion", "Wanda"), atv.Criterion, "criterion")
    leave_card(folder, complete(report, lvlm, origin, criterion.updates_weights))
    return report


def edit(folder, change, file="model.safetensors"):
    """Lets ``change`` alter the tensors of a file; the file's metadata stay."""
    from safetensors import safe_open

    with safe_open(folder / file, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(folder / file)
    change(tensors)
    save_file(tensors, folder / file, metadata)
