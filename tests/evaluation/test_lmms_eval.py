import json
import shlex

import pytest

from atv.evaluation.benchmarks import MME, NINE, Benchmark
from atv.evaluation.lmms_eval import lmms_eval_command


@pytest.mark.parametrize(
    ("kind", "runner", "more"),
    [
        ("qwen2_5_vl", "qwen2_5_vl", ",min_pixels=200704,max_pixels=1605632"),
        ("qwen2_vl", "qwen2_vl", ",min_pixels=3136,max_pixels=602112"),
        ("qwen3_vl", "qwen3_vl", ",min_pixels=4096,max_pixels=16777216"),
        ("llava_next", "llava_hf", ",device_map=auto"),
    ],
)
def test_the_command_names_folder_tasks_and_pixels(kind, runner, more, tmp_path):
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    words = shlex.split(lmms_eval_command(folder, [each() for each in NINE]))
    assert words[:6] == ["accelerate", "launch", "--num_processes=1", "-m", "lmms_eval", "--model"]
    assert words[6] == runner and words[8] == f"pretrained={folder}{more}"
    assert words[10].split(",")[:2] == ["ok_vqa_val2014", "vizwiz_vqa_val"] and len(words[10].split(",")) == 9


def test_a_benchmark_of_ones_own_is_refused(tmp_path):
    class Own(MME):
        lmms_eval = ""

    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="no task for Own"):
        lmms_eval_command(tmp_path, [Own()])
    assert issubclass(Own, Benchmark)


def test_a_model_with_experts_is_run_as_one_where_lmms_eval_knows_it_by_its_path(tmp_path):
    for name in ("sparse", "sparse-30B-A3B"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "qwen3_vl_moe"}')
    with pytest.raises(ValueError, match=r"model: expected a path with A3B .*, got .*sparse"):
        lmms_eval_command(tmp_path / "sparse", [MME()])
    command = lmms_eval_command(tmp_path / "sparse-30B-A3B", [MME()])
    assert "--model qwen3_vl " in command and ",min_pixels=4096,max_pixels=16777216" in command


def test_a_type_that_lmms_eval_has_no_class_for_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "smolvlm"}')
    with pytest.raises(ValueError, match=r"lmms-eval 0\.7\.3 has no class that runs 'smolvlm'; choices: llava, "):
        lmms_eval_command(tmp_path, [MME()])
