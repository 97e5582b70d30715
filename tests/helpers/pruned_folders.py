"""Folders like those of ``atv prune``, for tiny models that have no processor."""

from safetensors.torch import load_file, save_file

import atv


def save_pruned(model, batches, folder, **options):
    """Prunes the model, saves it with its report, and returns the report."""
    model.name_or_path = "tiny/dense"
    return atv.save(folder, model, None, atv.prune(model, batches, run_dir=folder, **options))


def prune_by_command(folder, pool, *options):
    """Prunes the bundled model with ``atv prune``, calibrated on a folder of samples, and returns its folder."""
    from atv.cli import main

    assert main(["prune", "--output", str(folder), "--calibration", str(pool), *options]) == 0
    return folder


def quantize_by_command(pruned, folder, pool, *more):
    """Quantizes a folder to 4 bits with ``atv quantize``, calibrated on two samples of a folder."""
    from atv.cli import main

    options = ["--samples", "2", "--calibration", str(pool), "--group-size", "64", "--selection", "TextOnly", *more]
    assert main(["quantize", str(pruned), "--output", str(folder), *options]) == 0
    return folder


def edit(folder, change, file="model.safetensors"):
    """Applies ``change`` to the tensors of a file and keeps the file's metadata."""
    from safetensors import safe_open

    with safe_open(folder / file, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(folder / file)
    change(tensors)
    save_file(tensors, folder / file, metadata)
