"""What must hold for every model type; a check raises where it does not. Equal means equal in every bit."""

import copy
import tempfile
from contextlib import contextmanager

import torch
from torch import nn
from transformers import AutoModelForImageTextToText

import atv
from atv.calibration.suspension import SuspendedForward, doors
from atv.model.hooks import token_states
from atv.model.lvlm import LVLM
from atv.pathways import DecoupledLinear, decouple_target, route
from atv.runtime.trainer import quiet_trainer

# Other pictures to try until every visual token has moved; codes of a codebook (Chameleon, Emu3) often stay.
DRAWS = 16


def logits(model, samples):
    """Pausing forward passes of several batches at every block gives the logits of plain ones if nothing is pruned."""
    lvlm, batches, ends = LVLM.of(model), samples.batches(), []
    plain = [logits_of(model, batch) for batch in batches]
    with (
        torch.no_grad(),
        doors(lvlm, lvlm.prunable, propagate=True),
        hooked(model.register_forward_hook, lambda _, __, result: ends.append(result.logits)),
    ):
        forwards = [SuspendedForward(model, batch) for batch in batches]
        for block in range(len(lvlm.blocks)):
            arrivals = [forward.advance(block) for forward in forwards]
            assert all(arrivals) or samples.layout.beside_the_decoder
        for forward in forwards:
            try:
                forward.advance(len(lvlm.blocks))
            except RuntimeError as end:
                assert "ended" in str(end)
    assert len(ends) == len(plain)
    assert all(torch.equal(end, expected) for end, expected in zip(ends, plain, strict=True))


def visual_mask(model, samples):
    """The visual mask marks where new pixels change block 0's input; a picture's rows may end in one learned vector."""
    lvlm, layout = LVLM.of(model), samples.layout
    for index, batch in enumerate(samples.batches()):
        visual, valid, entered = lvlm.visual(batch), lvlm.valid(batch), block_input(model, batch)
        moved = torch.zeros_like(visual)
        for draw in range(1, DRAWS + 1):
            other = samples.batches(pixels=1000 * draw)[index]
            assert torch.equal(other["input_ids"], batch["input_ids"])
            moved |= (block_input(model, other) != entered).any(-1)
            if (moved == visual).all():
                break
        assert not (moved & ~visual & valid).any(), "a text token moved"
        assert not (visual & ~valid).any(), "padding is visual"
        assert not (layout.beside_the_decoder and visual.any()), "nothing enters the decoder, yet a token is visual"
        still = entered[visual & ~moved]
        assert layout.row_ends or not len(still), "a visual token stood still"
        assert len(still.unique(dim=0)) <= layout.row_ends, "more than row ends stood still"
        assert len(still) <= len(entered[visual]) / 3, "few visual tokens moved"


def pruning(model, samples):
    """Linears and experts of the decoder's blocks lose exactly what their masks say; no other bit changes."""
    pruned, before = copy.deepcopy(model), model.state_dict()
    report = atv.prune(pruned, samples.batches(), trainer=quiet_trainer(enable_progress_bar=False))
    lost = masks_by_parameter(model, report.masks)
    for name, tensor in pruned.state_dict().items():
        assert torch.equal(tensor, before[name] * lost[name] if name in lost else before[name]), name
    blocks = f"{LVLM.of(model).blocks_name}."
    weights = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    weights |= {name for name, parameter in model.named_parameters() if ".experts." in name and parameter.dim() == 3}
    weights = {name for name in weights if name.startswith(blocks)}
    assert weights == lost.keys() | (weights & report.left_dense.keys()) and not lost.keys() & report.left_dense.keys()
    assert 0.45 < report.sparsity <= 0.5


def saving(model, samples):
    """The saved and reloaded model gives the same logits (on a copy: a file's memory alignment changes last bits)."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        loaded = copy.deepcopy(AutoModelForImageTextToText.from_pretrained(folder).eval())
    assert type(loaded) is type(model)
    for batch in samples.batches():
        assert torch.equal(logits_of(loaded, batch), logits_of(model, batch))


def pathways(model, samples):
    """With one weight per modality and full masks, the model equals the dense one, also if visual tokens get a copy."""
    full = decoupled(model)
    for batch in samples.batches():
        assert torch.equal(logits_of(full, batch), logits_of(model, batch))
    part(full)
    for batch in samples.batches():
        torch.testing.assert_close(logits_of(full, batch), logits_of(model, batch), rtol=1e-4, atol=1e-4)


def generation(model, samples):
    """With one weight per modality and full masks, it generates the dense model's tokens; with a copy, it generates."""
    full = decoupled(model)
    options = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
    for batch in samples.batches()[:1]:
        assert torch.equal(full.generate(**batch, **options), model.generate(**batch, **options))
    part(full)
    full.generate(**batch, **options)


CHECKS = (logits, visual_mask, pruning, saving, pathways, generation)


@torch.no_grad()
def logits_of(model, batch):
    return model(**batch, use_cache=False).logits


def block_input(model, batch):
    """What enters block 0: (batch, length, hidden)."""
    seen = []

    def note(_, args, kwargs):
        seen.append(args[0] if args else kwargs["hidden_states"])

    with hooked(LVLM.of(model).blocks[0].register_forward_pre_hook, note, with_kwargs=True):
        logits_of(model, batch)
    return token_states(seen[0], batch["input_ids"].shape, "0")


def decoupled(model):
    """A copy with one weight a modality in every Linear and expert of the decoder, all of it kept."""
    full = copy.deepcopy(model)
    lvlm = LVLM.of(full)
    route(lvlm)
    for name, target in lvlm.prunable.items():
        everything = atv.Pruned(torch.ones_like(target.weight, dtype=torch.bool))
        decouple_target(full, name, target, everything, everything)
    return full


def part(full):
    """Gives visual tokens a copy of each Linear's weight, so that they no longer share the text's."""
    for module in full.modules():
        if isinstance(module, DecoupledLinear):
            module.visual = copy.deepcopy(module.text)


def masks_by_parameter(model, masks):
    """Masks by the name and in the layout of the model's parameters."""
    lvlm = LVLM.of(model)
    found = {f"{name}.weight": masks[name] for name in lvlm.linears}
    for layer in lvlm.experts:
        for parameter in layer.parameters:
            own = torch.stack([masks[f"{layer.name}.{expert}.{parameter}"] for expert in range(layer.count)])
            found[f"{layer.name}.{parameter}"] = own.mT if layer.transposed else own
    return found


@contextmanager
def hooked(register, hook, **options):
    handle = register(hook, **options)
    try:
        yield
    finally:
        handle.remove()
