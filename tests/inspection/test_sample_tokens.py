import copy

import pytest
import torch
from helpers.tiny import singles

import atv
from atv.inspection import linear_of_blocks
from atv.inspection.sample_run import ChannelNorms, SampleTokens
from atv.model.lvlm import LVLM
from atv.runtime.trainer import quiet_trainer
from atv.selection import AMIA, AllTokens, BalancedPools, DriftTopK, TextFraction, TokenSelection

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
        visual = [watcher.seen[block].visual for watcher in watching]
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
        visual = torch.cat([watcher.seen[block].visual for watcher in tokens])
        expected = torch.stack([rows[~visual].square().mean(0).sqrt(), rows[visual].square().mean(0).sqrt()])
        torch.testing.assert_close(norms.rms[block], expected, rtol=1e-4, atol=1e-6)
        assert norms.tokens[block] == tuple(report.blocks[block].tokens.values()) == (35, 45)


def test_a_linear_a_block(llava):
    lvlm = LVLM.of(llava)
    assert set(linear_of_blocks(lvlm, "mlp.up_proj")) == {0, 1, 2}
    with pytest.raises(ValueError, match="linear: 'qproj' matches no Linear of the decoder; its Linears end in down_"):
        linear_of_blocks(lvlm, "qproj")
    with pytest.raises(ValueError, match=r"linear: '\*.mlp.\*' names .*gate_proj and .*; choose one a block"):
        linear_of_blocks(lvlm, "*.mlp.*")
