import numpy as np
import pytest
import torch
from helpers.tiny import MIXED, make_tokens

import atv
from atv.selection import Tokens


def test_is_one_minus_the_mean_cosine_to_the_other_visual_tokens():
    made = make_tokens(MIXED, hidden=5)
    rank = atv.DiversityTopK().rank(made)
    rows = made.input.double().numpy()
    visual = [i for i, v in enumerate(MIXED) if v]
    for i in visual:
        cosines = [rows[i] @ rows[j] / np.linalg.norm(rows[i]) / np.linalg.norm(rows[j]) for j in visual if j != i]
        assert rank[i].item() == pytest.approx(1 - np.mean(cosines), abs=1e-6)


def test_a_single_visual_token_scores_zero():
    assert atv.DiversityTopK().rank(make_tokens([0, 1, 0]))[1] == 0


def test_the_order_of_tokens_does_not_matter():
    made = make_tokens(MIXED)
    order = torch.randperm(len(MIXED), generator=torch.Generator().manual_seed(0))
    turned = Tokens(made.visual[order], made.position, made.input[order], made.output[order], 0, 0, 0)
    assert torch.allclose(atv.DiversityTopK().rank(turned), atv.DiversityTopK().rank(made)[order], atol=1e-6)
