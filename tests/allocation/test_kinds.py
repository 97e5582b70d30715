"""Sparsity by kind of Linear."""

from types import SimpleNamespace

import pytest
import torch

import atv


def test_kinds_lose_what_is_asked_and_the_others_the_rest(llava, batches):
    report = atv.prune(llava, batches, allocation=atv.ByKind({"*_attn.*": 0.25, "down_proj": 0.5}), sparsity=0.5)
    for name, share in report.allocation.sparsities["both"].items():
        kind = "attn" if "_attn." in name else name.rsplit(".", 1)[-1]
        # 4 * 1024 at 0.25 and 1536 at 0.5 of 4 * 1024 + 3 * 1536 leave 2816 of the 4352 that go.
        assert share == pytest.approx({"attn": 0.25, "down_proj": 0.5}.get(kind, 2560 / 3072), abs=1e-8)


@pytest.mark.parametrize(("asked", "sparsity"), [(0.27, 0.09), (0.45, 0.15), (0.3, 0.1)])
def test_kinds_that_take_all_of_the_target_leave_nothing_to_the_others(asked, sparsity):
    sizes = {"gate_proj": (48, 32), "up_proj": (48, 32), "down_proj": (32, 48)}
    linears = {name: SimpleNamespace(weight=torch.empty(size)) for name, size in sizes.items()}
    shares = atv.ByKind({"down_proj": asked}).allocate(linears, sparsity, None)
    assert shares == {"gate_proj": pytest.approx(0), "up_proj": pytest.approx(0), "down_proj": asked}
    assert min(shares.values()) >= 0


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"nothing": 0.5}, "kinds: no pruned Linear is left for nothing"),
        ({"*": 0.4}, "so 0.5 cannot be met"),
        ({"*.mlp.*": 0.99}, "would require a sparsity of -0.05125 in the other Linears, so 0.5 cannot be met"),
    ],
)
def test_kinds_that_cannot_be_met_are_refused(llava, batches, kinds, message):
    with pytest.raises(ValueError, match=message):
        atv.prune(llava, batches, allocation=atv.ByKind(kinds))
