"""Masks and models that do not belong together, held in memory."""

import copy
import re

import pytest
import torch

from atv.model.lvlm import LVLM
from atv.records.masks import PackedMasks
from atv.verification.saved_model import SavedModel, VerificationError
from atv.verification.weight_checks import BaseCheck, check_names

UP = "model.language_model.layers.1.mlp.up_proj"


@pytest.mark.parametrize("alone", ["base", "pruned"])
def test_a_tensor_that_one_model_alone_has_is_named(llava, alone):
    models = {"base": llava, "pruned": copy.deepcopy(llava)}
    models[alone].register_buffer("extra", torch.zeros(2))
    base, pruned = (SavedModel(LVLM.of(model)) for model in models.values())
    with pytest.raises(VerificationError, match=f"^base: only the {alone} model has extra$"):
        BaseCheck(base, PackedMasks()).check_layout(pruned)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("nowhere", [48, 32], "nowhere has a mask, but the model has no such Linear or expert"),
        (UP, [48, 16], f"{UP}: the mask has shape [48, 16], the weight [48, 32]"),
    ],
    ids=["name", "shape"],
)
def test_a_mask_that_fits_no_weight_of_the_model_is_named(llava, name, shape, message):
    masks = PackedMasks({name: torch.ones(shape, dtype=torch.bool)})
    with pytest.raises(VerificationError, match=f"^{re.escape(message)}$"):
        check_names(masks, masks.shapes, dict.fromkeys(masks), LVLM.of(llava))
