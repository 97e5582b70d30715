import torch
from transformers import AutoModelForImageTextToText

import atv
from atv.bundled import BUNDLED_MODEL


def test_the_command_weighs_and_times_models_side_by_side(atv_command, tmp_path):
    model, processor = atv.load("bundled")
    with torch.no_grad():
        model.get_decoder().layers[0].mlp.up_proj.weight.zero_()
    model.save_pretrained(tmp_path / "sparse")
    processor.save_pretrained(tmp_path / "sparse")
    options = ["--prompt_tokens", 100, "--new_tokens", 2, "--repeats", 1]
    code, out, err = atv_command("measure", "bundled", tmp_path / "sparse", *options)
    assert code == 0, err
    dense = AutoModelForImageTextToText.from_pretrained(BUNDLED_MODEL)
    assert f"{dense.num_parameters():,}" in out and "answers of 2, 1 turns" in out
    spared = 100 * (1 - 192 * 512 / dense.num_parameters())
    assert f"{spared:.1f}%" in out
    assert f"{(BUNDLED_MODEL / 'model.safetensors').stat().st_size / 1e6:.1f}" in out
    code, _, err = atv_command("measure", "bundled", "bundled")
    assert code == 2 and "each is to be named once" in err
    code, _, err = atv_command("measure", "bundled", "--new_tokens", 0)
    assert code == 2 and "new_tokens: expected 1 or more, got 0" in err
