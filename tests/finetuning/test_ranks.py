"""Two real processes (gloo, one thread each) train what one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.tiny import random_llava
from helpers.tuning import pruned
from ranks.finetuning import main
from safetensors.torch import load_file

from atv.model.lvlm import LVLM

JOB = Path(__file__).parents[1] / "ranks" / "finetuning.py"


def trained(strategy, learns, folder):
    places = os.pathsep.join([str(JOB.parents[1]), str(JOB.parents[2])])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": places}
    command = [sys.executable, str(JOB), "2", strategy, learns, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return [load_file(folder / str(rank)) for rank in range(2) if (folder / str(rank)).is_file()]


@pytest.fixture(scope="module", params=["answers", "dense outputs"])
def learns(request):
    return request.param


@pytest.fixture(scope="module")
def one_rank(learns, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    main(1, "auto", learns, folder)
    return load_file(folder / "0")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_ranks_train_the_same_weights_and_hold_the_zeros(strategy, learns, one_rank, tmp_path):
    own = trained(strategy, learns, tmp_path)
    assert len(own) == (2 if strategy == "ddp" else 1)
    masks = pruned(LVLM.of(random_llava()))
    for weights in own:
        assert weights.keys() == one_rank.keys()
        for name, weight in weights.items():
            assert torch.equal(weight, own[0][name])
            # The mean of two ranks' gradients is the accumulated one, up to rounding.
            torch.testing.assert_close(weight, one_rank[name], rtol=1e-3, atol=1e-5)
            assert not weight[~masks[name.removesuffix(".parametrizations.weight.original")]].any()
