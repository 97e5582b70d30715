"""Pruning from folder to folder in Python: one call for what `atv prune` does."""

import pytest

import atv
from atv.api.pruning_to_folder import prune_to_folder
from atv.bundled import BUNDLED_MODEL


def test_a_folder_becomes_a_pruned_one_once(small_pool, tmp_path):
    pathway, output = atv.Pathway("TextOnly", sparsity=0.6), tmp_path / "sparse"
    first = prune_to_folder(BUNDLED_MODEL, output, pathway, str(small_pool), samples=3)
    assert first.folder == output and not first.finished_before and not (output / "blocks").exists()
    assert first.report.sparsity == pytest.approx(0.6, abs=0.01) and first.report.base.model == str(BUNDLED_MODEL)
    assert "equal its bit for bit" in atv.verify(output, BUNDLED_MODEL, max_new_tokens=2)["base"]
    written = (output / "model.safetensors").stat().st_mtime_ns
    again = prune_to_folder(BUNDLED_MODEL, output, pathway, str(small_pool), samples=3)
    assert again.finished_before and again.report.as_dict() == first.report.as_dict()
    assert (output / "model.safetensors").stat().st_mtime_ns == written
