"""Folders of models that structures were taken out of: checked, trained, saved again."""

import json
import shutil

import pytest
from helpers.pruned_folders import edit, save_pruned
from helpers.tiny import make_batch, random_llava
from helpers.tuning import SETTINGS
from transformers import AutoModelForImageTextToText

import atv
from atv.finetuning.training_run import finish, prepare
from atv.model.lvlm import LVLM
from atv.output.report_masks import masks_of
from atv.records.pruning_report import PruningReport
from atv.verification.folder import verify
from atv.verification.saved_model import VerificationError

DOWN = "model.language_model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smaller")
    random_llava().save_pretrained(folder / "dense")
    save_pruned(random_llava(), [make_batch([5, 8], 1)], folder / "sparse", pattern=atv.FFNChannels(8))
    return folder


def test_a_smaller_folder_is_verified_and_what_was_changed_is_named(folders, tmp_path):
    sparse = shutil.copytree(folders / "sparse", tmp_path / "sparse")
    found = verify(sparse, folders / "dense", max_new_tokens=0)
    assert "kept weights of 9 are equal, too" in found["base"]
    assert "intermediate_size 48 -> 24" in found["size"] and "FFNChannels" in found["pattern"]
    edit(sparse, lambda tensors: tensors["language_model.model.layers.1.mlp.down_proj.weight"][3, 5].mul_(1.001))
    with pytest.raises(VerificationError, match=rf"{DOWN} differs from .* the kept weights: first at entry \(3, 5\)"):
        verify(sparse, folders / "dense", max_new_tokens=0)
    edit(sparse, lambda masks: masks[DOWN][4].fill_(0), "masks.safetensors")
    with pytest.raises(VerificationError, match=rf"{DOWN}: the mask breaks FFNChannels\(.*\) in row 4"):
        verify(sparse, max_new_tokens=0)
    edit(sparse, lambda masks: masks[DOWN][4].fill_(255), "masks.safetensors")
    with pytest.raises(VerificationError, match="the masks leave intermediate_size 48, but the model has 24"):
        verify(sparse, max_new_tokens=0)


def test_a_smaller_folder_is_trained_whole(folders, tmp_path):
    smaller = AutoModelForImageTextToText.from_pretrained(folders / "sparse").eval()
    report = PruningReport.read(folders / "sparse")
    lvlm = LVLM.of(smaller)
    masks = masks_of(report, lvlm)
    assert masks.sparsity == 0 and masks.shapes[DOWN] == [32, 24]
    prepare(lvlm, masks, SETTINGS)
    trained = {name for name, parameter in smaller.named_parameters() if parameter.requires_grad}
    assert len(trained) == 9 and all(".mlp." in name for name in trained)
    smaller = AutoModelForImageTextToText.from_pretrained(folders / "sparse").eval()
    finish(LVLM.of(smaller), masks, SETTINGS, {})
    written = atv.save(tmp_path, smaller, None, report)
    assert written.targets == report.targets and written.targets[DOWN].shape == [32, 48]
    assert AutoModelForImageTextToText.from_pretrained(tmp_path).config.text_config.intermediate_size == 24


def test_the_card_says_that_the_model_is_smaller(folders):
    card = (folders / "sparse" / "README.md").read_text()
    assert "intermediate_size 48 -> 24" in card and "an ordinary smaller model" in card and "zeros" not in card
    assert json.loads((folders / "sparse" / "report.json").read_text())["smaller"] == {"intermediate_size": [48, 24]}
