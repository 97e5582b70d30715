import torch
from helpers.tiny import make_batch

from atv.bundled import BUNDLED_MODEL
from atv.evaluation import speed
from atv.evaluation.speed import Speed, Turn


class Clock:
    """Seconds that pass with the forwards of a model: one for each token that is read."""

    def __init__(self, model, monkeypatch):
        self.seconds, self.read = 0.0, []
        model.get_decoder().register_forward_pre_hook(self.passes, with_kwargs=True)
        monkeypatch.setattr(speed, "now", lambda: self.seconds)

    def passes(self, _, args, kwargs):
        tokens = kwargs["inputs_embeds"].shape[1]
        self.seconds += tokens
        self.read.append(tokens)


def runner(llava, new_tokens):
    return speed._Runner(BUNDLED_MODEL, llava, make_batch([5], seed=0), new_tokens)


def test_a_turn_reads_the_prompt_once_and_then_one_token_a_step(llava, monkeypatch):
    clock = Clock(llava, monkeypatch)
    # Any token would end the answer, if ends were looked for.
    llava.generation_config.eos_token_id = list(range(50))
    turn = runner(llava, 6).turn()
    assert clock.read == [14, 1, 1, 1, 1, 1, 1]
    assert turn == Turn(prefill=1.0, decode=1.0)


def test_the_tokens_are_those_of_greedy_search(llava):
    batch = make_batch([5], seed=0)
    with torch.no_grad():
        expected = llava.generate(**batch, max_new_tokens=6, min_new_tokens=6, do_sample=False)
        made = llava.generate(**batch, max_new_tokens=7, custom_generate=speed._Watch(6))
    assert torch.equal(made, expected)


def test_ratios_are_taken_within_turns():
    fast, slow = (
        Speed(1, 1, 1, 1, [Turn(1, decode) for decode in turns]) for turns in ((4.0, 9.0, 2.0), (2.0, 3.0, 4.0))
    )
    assert fast.over(slow, "decode") == (2.0, 0.5, 3.0)
    assert fast.median("decode") == 4.0
