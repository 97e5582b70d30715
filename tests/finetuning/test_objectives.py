"""What training lowers: the numbers, and of which tokens they are."""

import math

import pytest
import torch
from helpers.tiny import IMAGE, make_batch, random_llava
from helpers.tuning import answers, pruned

from atv.finetuning.objectives import AnswerLoss, DistillationLoss, Teacher, divergence
from atv.model.lvlm import LVLM
from atv.records.pruning_report import BaseModel


def test_the_divergence_is_the_sum_by_hand():
    logits, expected = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)).double()
    total = 0.0
    for own, dense in zip(logits.tolist(), expected.tolist(), strict=True):
        q, p = ([math.exp(x) / sum(map(math.exp, row)) for x in row] for row in (own, dense))
        total += sum(pi * math.log(pi / qi) for pi, qi in zip(p, q, strict=True))
    assert float(divergence(logits, expected)) == pytest.approx(total / 3, rel=1e-6)


def test_text_tokens_alone_count_and_the_dense_model_is_given_no_gradient(llava):
    teacher = random_llava()
    pruned(LVLM.of(llava))
    batch = make_batch([5, 9], seed=0)
    loss, tokens = DistillationLoss(LVLM.of(teacher)).loss(llava, batch)
    loss.backward()
    assert tokens == 5 + 9
    terms = []
    with torch.no_grad():
        own, dense = (model(**batch).logits.log_softmax(-1) for model in (llava, teacher))
    for row, column in torch.cartesian_prod(*(torch.arange(size) for size in batch["input_ids"].shape)).tolist():
        if batch["attention_mask"][row, column] and batch["input_ids"][row, column] != IMAGE:
            p, q = dense[row, column], own[row, column]
            terms.append((p.exp() * (p - q)).sum())
    assert loss.item() == pytest.approx(float(sum(terms)) / 14, rel=1e-5)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in llava.parameters())


def test_a_model_learns_nothing_from_itself(llava):
    loss, _ = DistillationLoss(LVLM.of(random_llava())).loss(llava, make_batch([5, 9], seed=0))
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or p.grad.abs().max() < 1e-4 for p in llava.parameters())


def test_a_dense_model_of_half_the_bits_reads_pictures_in_its_own_dtype(llava):
    loss, _ = DistillationLoss(LVLM.of(random_llava().bfloat16())).loss(llava, make_batch([5, 9], seed=0))
    assert 0 < loss.item() < 0.05


def test_a_dense_model_is_read_in_its_own_dtype_under_mixed_precision():
    dense = DistillationLoss(LVLM.of(random_llava()))
    batch = make_batch([5, 9], seed=0)
    read = dense.teacher.valid(batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = dense.expected(batch, read)
    assert torch.equal(mixed, dense.expected(batch, read))


@pytest.mark.parametrize(
    ("name", "revision", "called"),
    [
        ("owner/name", "a1", "owner/name@a1"),
        ("owner/name@v2", "a1", "owner/name@a1"),
        ("/cache/owner/name", "a1", "/cache/owner/name"),
        ("owner/name@v2", None, "owner/name@v2"),
    ],
)
def test_the_base_model_is_looked_for_by_its_commit(monkeypatch, llava, name, revision, called):
    def look(model, trust_remote_code):
        raise ValueError(f"asked for {model}")

    monkeypatch.setattr("atv.finetuning.objectives.model_folder", look)
    with pytest.raises(ValueError, match=f"asked for {called};"):
        Teacher.of("base", BaseModel(name, revision, "A", "a"), llava, None)


@pytest.fixture
def logits_of(llava):
    """How many tokens' logits each forward computed."""
    counts = []
    llava.get_output_embeddings().register_forward_hook(lambda _, __, out: counts.append(out.shape[1]))
    return counts


def test_the_loss_of_answers_is_that_of_transformers_without_the_logits_of_other_tokens(llava, logits_of):
    (batch,) = answers(1)
    batch["labels"][1, -4:-2] = -100
    loss, tokens = AnswerLoss().loss(llava, batch)
    gradients = torch.autograd.grad(loss, llava.get_output_embeddings().weight)
    expected = llava(**batch).loss
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6) and tokens == 6
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, llava.get_output_embeddings().weight))
    assert logits_of == [4, batch["input_ids"].shape[1]]


def test_the_loss_of_no_answers_is_0_and_moves_nothing(llava):
    (batch,) = answers(1)
    batch["labels"].fill_(-100)
    loss, tokens = AnswerLoss().loss(llava, batch)
    loss.backward()
    assert (loss.item(), tokens) == (0, 0)
    assert not any(parameter.grad.any() for parameter in llava.parameters() if parameter.grad is not None)


def test_no_logits_are_computed_where_every_row_has_a_picture_or_padding(llava, logits_of):
    batch = make_batch([5, 9], seed=0)
    text = (batch["attention_mask"].bool() & (batch["input_ids"] != IMAGE)).any(0)
    DistillationLoss(LVLM.of(random_llava())).loss(llava, batch)
    assert logits_of == [int(text.sum())] and logits_of[0] < batch["input_ids"].shape[1]


def test_a_model_that_gives_all_its_logits_is_asked_for_none_apart(llava, monkeypatch):
    (batch,) = answers(1)
    expected, _ = AnswerLoss().loss(llava, batch)
    forward = type(llava).forward
    monkeypatch.setattr(
        llava,
        "forward",
        lambda input_ids, attention_mask, pixel_values, use_cache: forward(
            llava, input_ids, pixel_values, attention_mask, use_cache=use_cache
        ),
    )
    loss, _ = AnswerLoss().loss(llava, batch)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
