"""Pruning from folder to folder in Python: one call for what `atv prune` does."""

import json
import shutil

import pytest
from transformers import AutoModelForImageTextToText

import atv
from atv.api.pruning_to_folder import prune_to_folder
from atv.bundled import BUNDLED_MODEL


def test_a_folder_becomes_a_pruned_one_once(small_pool, tmp_path):
    pathway, output = atv.Pathway("TextOnly", sparsity=0.6), tmp_path / "sparse"
    first = prune_to_folder(BUNDLED_MODEL, output, pathway, str(small_pool), samples=3)
    assert first.folder == output and not first.finished_before and not (output / "blocks").exists()
    assert first.report.sparsity == pytest.approx(0.6, abs=0.01) and first.report.base.model == str(BUNDLED_MODEL)
    assert "kept weights of 42 are equal, too" in atv.verify(output, BUNDLED_MODEL, max_new_tokens=2)["base"]
    written = (output / "model.safetensors").stat().st_mtime_ns
    again = prune_to_folder(BUNDLED_MODEL, output, pathway, str(small_pool), samples=3)
    assert again.finished_before and again.report.as_dict() == first.report.as_dict()
    assert (output / "model.safetensors").stat().st_mtime_ns == written


OWN = """
from transformers import LlavaConfig, LlavaForConditionalGeneration


class OwnConfig(LlavaConfig):
    model_type = "own_llava"


class OwnModel(LlavaForConditionalGeneration):
    config_class = OwnConfig
"""


@pytest.fixture
def with_code(tmp_path, monkeypatch):
    """The bundled model as one of a type that transformers does not know."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    folder = tmp_path / "own"
    shutil.copytree(BUNDLED_MODEL, folder, copy_function=shutil.copyfile)
    names = {"AutoConfig": "own.OwnConfig", "AutoModelForImageTextToText": "own.OwnModel"}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own_llava", "auto_map": names}))
    (folder / "own.py").write_text(OWN)
    return folder


@pytest.mark.parametrize("offload", [None, "disk"])
def test_a_model_that_brings_code_keeps_it(with_code, offload, small_pool, tmp_path):
    options = {"samples": 2, "targets": "q_proj", "offload": offload, "trust_remote_code": True}
    for again in (False, True):
        made = prune_to_folder(with_code, tmp_path / "out", atv.Pathway("TextOnly"), str(small_pool), **options)
        assert made.finished_before is again
    assert (tmp_path / "out" / "own.py").read_text() == OWN
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", trust_remote_code=True)
    assert type(loaded).__name__ == "OwnModel"
