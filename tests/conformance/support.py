"""What the suite finds of every type: the rows of ``atv models``."""

from importlib.metadata import version

import torch
from conformance.checks import CHECKS
from conformance.table import TYPES, build, usual_samples
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from atv.model.decoder import VISUAL_MASK, forward_takes
from atv.model.lvlm import LVLM

# Types that cannot work, with the config where the default one could.
REFUSED = {
    "blip": {},
    "blip-2": {"text_config": {"model_type": "t5"}},
    "diffusion_gemma": {"text_config": {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 64}},
    "evolla": {},
    "florence2": {},
    "git": {},
    "idefics": {},
    "instructblip": {"text_config": {"model_type": "t5"}},
    "mistral4": {},
    "pi0": {},
    "pix2struct": {},
    "pp_formulanet": {},
    "t5gemma2": {},
    "udop": {},
    "vision-encoder-decoder": {},
}


# Types of transformers that have no tiny twin here, and why; what was seen of them was seen by hand.
NO_TWIN = {
    "gemma3n": "its vision tower needs timm; it passed every check in a manual run with timm's test_resnet",
    "shieldgemma2": "transformers cannot load the folder that it saves; all other checks pass",
}


def untried():
    """Every other image-text-to-text type of this release, with what is known of it."""
    known = TYPES.keys() | REFUSED.keys()
    return {
        kind: NO_TWIN.get(kind, "no tiny twin yet")
        for kind in sorted(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
        if kind not in known
    }


def facts(kind, model):
    """What the code knows of a type: class, what marks visual tokens, clips, what stays dense, and our note."""
    lvlm, layout = LVLM.of(model), TYPES[kind].layout
    start = len(lvlm.blocks_name) + 1
    return {
        "class": type(model).__name__,
        "visual_tokens": "row ends are visual" if layout.row_ends else _marked_by(lvlm),
        "clips": layout.has_clips,
        "left_dense": sorted({name[start:].split(".", 1)[1] for name in lvlm.left_dense}),
        "note": TYPES[kind].note,
    }


def _marked_by(lvlm):
    """Empty for token ids, which is how most types mark visual tokens."""
    if lvlm.visual_ids:
        return ""
    return "visual tokens by the processor's mask" if forward_takes(lvlm.model, VISUAL_MASK) else "cross-attention"


def row(kind):
    """Runs every check of a type."""
    model, failed = build(kind), {}
    for check in CHECKS:
        try:
            check(model, usual_samples(kind))
        except Exception as error:
            failed[check.__name__] = f"{type(error).__name__}: {error}"
    return facts(kind, model) | {"failed": failed}


def refusal(kind):
    """The error that a type gets, from a model of full size without memory."""
    config = CONFIG_MAPPING[kind](**REFUSED[kind])
    with torch.device("meta"):
        model = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)](config)
    try:
        LVLM.of(model)
    except ValueError as error:
        return str(error)
    raise AssertionError(f"{kind} is not refused")


def support():
    """The whole table."""
    return {
        "transformers": version("transformers"),
        "checks": {check.__name__: check.__doc__ for check in CHECKS},
        "types": {kind: row(kind) for kind in TYPES},
        "refused": {kind: refusal(kind) for kind in REFUSED},
        "untried": untried(),
    }
