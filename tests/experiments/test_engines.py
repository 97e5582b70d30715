"""A language model cut into the parts that engines are given answers as the whole does."""

import pytest
import torch
from helpers.tiny import make_batch, random_llava

from experiments.engines import OWN, Exported, Prompt, compare

decomposition = pytest.importorskip("transformers.exporters.utils", reason="an older transformers exports nothing")


def parts_and_prompt(model, steps):
    pieces = decomposition.decompose_for_generation(model, make_batch([5], 1))
    return {name: piece for name, (piece, _) in pieces.items()}, Prompt(
        pieces["language_model"][1]["inputs_embeds"], steps
    )


def test_the_parts_answer_as_generate_does():
    model, batch = random_llava().eval(), make_batch([5], 1)
    parts, prompt = parts_and_prompt(model, 6)
    logits, turn = prompt.answer(parts)
    # An end would cut the answer short.
    model.generation_config.eos_token_id = None
    options = {"max_new_tokens": 7, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    expected = torch.cat(model.generate(**batch, **options).logits)
    assert logits.shape == expected.shape and torch.allclose(logits, expected, atol=1e-5)
    assert turn.prefill > 0 and turn.decode > 0


def test_another_answer_is_told_apart():
    parts, prompt = parts_and_prompt(random_llava().eval(), 3)
    other = parts | {"lm_head": lambda input: -parts["lm_head"](input=input)}
    share, same = Exported(prompt, {OWN: parts, "same": parts, "other": other}).difference("same")
    assert share == 0 and same
    share, same = Exported(prompt, {OWN: parts, "same": parts, "other": other}).difference("other")
    assert share > 0.5 and not same


@pytest.mark.slow
def test_onnx_runtime_computes_the_bundled_model(capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    compare(["bundled"], prompt_tokens=1, new_tokens=2, repeats=1)
    assert "| yes | 1 | 1 | 1 | 1 |" in capsys.readouterr().out
