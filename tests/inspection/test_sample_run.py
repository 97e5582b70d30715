import copy

import numpy as np
import pytest
import torch
from conformance.table import TYPES, Samples, build
from helpers.tiny import singles
from PIL import Image

import atv
from atv.bundled import BUNDLED_MODEL
from atv.data.base import CalibrationData, Conversation
from atv.inspection import Shown, Subject, drawn_row, inspect_sample, linear_of_blocks, modality_overlap
from atv.inspection.sample_run import ChannelNorms, SampleTokens
from atv.model.loading import load_model
from atv.model.lvlm import LVLM
from atv.model.visual_grid import VisualGrid
from atv.records.masks import overlap
from atv.runtime.trainer import quiet_trainer
from atv.selection import AMIA, AllTokens, BalancedPools, DriftTopK, TextFraction, TokenSelection


def quiet():
    return quiet_trainer(enable_progress_bar=False)


def test_the_overlap_is_that_of_two_runs_and_the_model_stays(llava, batches):
    before = copy.deepcopy(llava.state_dict())
    iou, kept = modality_overlap(llava, batches, quiet(), sparsity=0.25)
    runs = [
        atv.prune(copy.deepcopy(llava), batches, selection=rule, sparsity=0.25, trainer=quiet()).masks
        for rule in ("VisualOnly", "TextOnly")
    ]
    assert iou == overlap(*runs) and kept == pytest.approx(0.75)
    assert all(torch.equal(weight, before[name]) for name, weight in llava.state_dict().items())


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_5"])
def test_one_sample_of_a_batch(kind):
    """qwen3_5 has linear attention, so no q_proj, in its first block."""
    model, rule = build(kind), DriftTopK(share=0.5)
    batches = Samples(TYPES[kind].layout, [[[2, "large", 9], [3, "image", 7]], [[1, "large", 5]]]).batches()
    linears, trainer = linear_of_blocks(LVLM.of(model), "q_proj"), quiet()
    callbacks = list(trainer.callbacks)
    seen = inspect_sample(model, batches, 1, rule, linears, trainer)
    valid = LVLM.valid(batches[0])[1]
    visual = LVLM.of(model).visual(batches[0])[1][valid]
    assert seen.positions.tolist() == visual.nonzero().flatten().tolist()
    assert seen.text == int((~visual).sum()) and seen.samples == 3 and seen.blocks == [0, 1]
    assert (seen.weights != 0).sum(1).tolist() == [min(len(seen.positions), round(0.5 * seen.text))] * 2
    assert set(seen.norms["block"]) == set(linears) and trainer.callbacks == callbacks


@pytest.fixture(scope="module")
def bundled():
    model, processor = load_model(BUNDLED_MODEL)
    return LVLM.of(model), processor


def test_the_picture_is_what_the_model_sees(bundled, tmp_path):
    wide = np.zeros((54, 108, 3), np.uint8)
    wide[:, :20] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    subject = Subject.of(*bundled, Shown(tmp_path / "wide.png", "how many ?").row(1))
    assert subject.picture.shape == (54, 54, 3) and subject.grid == VisualGrid(9, 9)
    pixels = subject.inputs["pixel_values"][0].permute(1, 2, 0).numpy()
    assert np.allclose(subject.picture, (pixels + 1) / 2, atol=1e-6)
    assert subject.conversation == [{"role": "user", "text": "how many ?"}]


def test_an_answer_ends_the_conversation(bundled, tmp_path):
    Image.new("RGB", (54, 54)).save(tmp_path / "x.png")
    open_, closed = (
        Subject.of(*bundled, Shown(tmp_path / "x.png", "how many ?", answer).row(1)) for answer in (None, "2")
    )
    decode = bundled[1].tokenizer.decode
    assert decode(open_.inputs["input_ids"][0]).strip().endswith("<assistant>")
    assert decode(closed.inputs["input_ids"][0]).strip().endswith("2 <end>")


def test_a_sample_without_a_picture_is_refused(bundled):
    row = {"image": None, "conversation": [{"role": "user", "text": "how many ?"}]}
    with pytest.raises(ValueError, match="sample: it has no picture"):
        Subject.of(*bundled, row)


class _Repeated(CalibrationData):
    """Three conversations, two of one id."""

    def check(self):
        pass

    def draw(self, seed):
        for id, text in (("a", "one"), ("b", "two"), ("a", "three")):
            yield Conversation(id, [{"role": "user", "text": text}], [Image.new("RGB", (54, 54))])


@pytest.mark.parametrize(("number", "text"), [*enumerate(["one", "two", "three"])])
def test_samples_of_one_id_are_told_apart(number, text):
    (turn,) = drawn_row(_Repeated(), 0, ["a", "b", "a"], number)["conversation"]
    assert turn["text"].endswith(text)


BLOCKS = 3


class _Soft(TokenSelection):
    def select(self, tokens):
        return tokens.text + 0.5 * tokens.visual * (tokens.position % 2 == 0)


class _Spy(atv.Wanda):
    """Keeps the norms that it is given, in the order of blocks."""

    def __init__(self):
        self.pools = []

    def score(self, weight, pool):
        self.pools.append(pool.norm.double())
        return super().score(weight, pool)


@torch.no_grad()
def dense_inputs(llava, batches, names):
    """Linear -> its input for every sample (n, in), from plain forwards without padding."""
    read = {name: [] for name in names}
    handles = [
        llava.get_submodule(name).register_forward_pre_hook(lambda _, args, name=name: read[name].append(args[0][0]))
        for name in names
    ]
    for batch in singles(batches):
        llava(**batch)
    for handle in handles:
        handle.remove()
    return read


def watch(llava, batches, rule, callbacks, **options):
    trainer = quiet_trainer(enable_progress_bar=False, callbacks=callbacks)
    return atv.prune(
        copy.deepcopy(llava), batches, selection=rule, targets=["q_proj"], propagate=False, trainer=trainer, **options
    )


@pytest.mark.parametrize(
    "rule", [DriftTopK(alpha=3), DriftTopK(share=0.5), AllTokens(), TextFraction(0.5), AMIA(), _Soft(), BalancedPools()]
)
def test_the_tokens_noted_are_those_of_the_pool(llava, batches, rule):
    linears, samples = linear_of_blocks(LVLM.of(llava), "q_proj"), range(5)
    watching, spy = [SampleTokens(rule, sample, linears) for sample in samples], _Spy()
    report = watch(llava, batches, rule, watching, criterion=spy)
    read = dense_inputs(llava, batches, linears.values())
    for block in range(BLOCKS):
        weights = [watcher.weights(report.blocks[block]) for watcher in watching]
        visual = [watcher.blocks[block].visual for watcher in watching]
        picked = sum(int((w[v] != 0).sum()) for w, v in zip(weights, visual, strict=True))
        assert picked == report.blocks[block].selected["both"]["visual"]
        pairs = zip(weights, read[linears[block]], strict=True)
        squares = sum((w[:, None].double() * x.double() ** 2).sum(0) for w, x in pairs)
        count = sum(w.sum() for w in weights) if rule.average == "tokens" else len(samples)
        torch.testing.assert_close(spy.pools[block], (squares / count).sqrt(), rtol=1e-4, atol=1e-5)


def test_norms_by_channel_are_those_of_the_modalities(llava, batches):
    linears = linear_of_blocks(LVLM.of(llava), "q_proj")
    norms, tokens = ChannelNorms(linears), [SampleTokens(AllTokens(), sample, linears) for sample in range(5)]
    report = watch(llava, batches, AllTokens(), [norms, *tokens])
    read = dense_inputs(llava, batches, linears.values())
    for block in range(BLOCKS):
        rows = torch.cat(read[linears[block]]).double()
        visual = torch.cat([watcher.blocks[block].visual for watcher in tokens])
        expected = torch.stack([rows[~visual].square().mean(0).sqrt(), rows[visual].square().mean(0).sqrt()])
        torch.testing.assert_close(norms.rms[block], expected, rtol=1e-4, atol=1e-6)
        assert norms.tokens[block] == tuple(report.blocks[block].tokens.values()) == (35, 45)


def test_a_linear_a_block(llava):
    lvlm = LVLM.of(llava)
    assert set(linear_of_blocks(lvlm, "mlp.up_proj")) == {0, 1, 2}
    with pytest.raises(ValueError, match="linear: 'qproj' matches no Linear of the decoder; its Linears end in down_"):
        linear_of_blocks(lvlm, "qproj")
    with pytest.raises(ValueError, match=r"linear: '\*.mlp.\*' matches .*gate_proj and .*; choose one per block"):
        linear_of_blocks(lvlm, "*.mlp.*")
