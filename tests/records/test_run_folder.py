"""What a run keeps to go on from, in states that no run leaves: named, or begun anew, and never a traceback."""

import json
import math
import os
import subprocess

import pytest
import torch

from atv.records.files import atomic, writer
from atv.records.masks import PackedMasks
from atv.records.pruning_report import AllocationReport, BlockReport
from atv.records.quantization_record import QuantizationRecord
from atv.records.run_folder import FinishedBlock, RunFolder, clear_blocks

TOKENS = {"text": 1, "visual": 2}


@pytest.fixture
def run(tmp_path):
    """A run with one finished block."""
    folder = RunFolder(tmp_path / "run", {"model": "m"})
    folder.begin()
    folder.write_allocation(AllocationReport({"both": {"q_proj": 0.5}}, 1.0))
    report = BlockReport(0, 0.5, TOKENS, {"both": TOKENS}, {"text": {"q_proj": 1.0}}, 2.0)
    masks = {"both": PackedMasks({"q_proj": torch.tensor([[True, False, True]])})}
    folder.write_block(FinishedBlock(report, masks, {"both/q_proj": torch.ones(1, 3)}))
    return folder


def change(file, path, value):
    told = json.loads(file.read_text())
    held = told
    for name in path[:-1]:
        held = held[name]
    held[path[-1]] = value
    file.write_text(json.dumps(told))


def test_a_block_is_read_as_it_was_written(run):
    (block,) = run.read_blocks()
    assert block.report.norms == {"text": {"q_proj": 1.0}} and run.read_allocation().sparsities["both"]["q_proj"] == 0.5
    assert block.masks["both"]["q_proj"].tolist() == [[True, False, True]] and list(block.weights) == ["both/q_proj"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["checksum"], "0", "its checksum does not match its manifest"),
        (["report", "block"], 1, "its manifest is for block 1"),
        (["report"], [], "report is"),
        (["report", "seconds"], math.nan, "report.seconds is nan"),
        (["report", "tokens", "text"], True, "report.tokens.text is True"),
        (["shapes", "both", "q_proj"], [1, 40], r"mask of q_proj does not have the expected shape \[1, 40\]"),
        (["shapes", "both", "q_proj"], ["1", {}], "shapes.both.q_proj.1 is"),
        (["shapes", "both", "k_proj"], [1, 3], "both/k_proj"),
        (["weights"], "q_proj", "weights is 'q_proj'"),
        (["weights"], [], "its manifest does not name weight/both/q_proj"),
        (["report", "tokens"], {"visual": 2}, "report.tokens is .*it has no text"),
    ],
)
def test_a_block_that_is_not_whole_is_made_again_and_named(run, path, value, message):
    change(run.folder / "blocks" / "000.json", path, value)
    with pytest.warns(UserWarning, match=f"000.safetensors is corrupt .*{message}"):
        assert run.read_blocks() == []


def under_way(folder, process):
    """What a run has under way in its folder, written by the process of a number."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "getpid", lambda: process)
        (folder / ".waiting").mkdir(exist_ok=True)
        parked = folder / ".waiting" / f"{writer()}-0"
        parked.write_text("")
        kept = [parked]
        for name in ("model-block-00001.safetensors", "blocks/001.json"):
            with pytest.raises(KeyError), atomic(folder / name) as temporary:
                kept.append(temporary.with_name(temporary.name[:-8] + "kept_one"))
                temporary.rename(kept[-1])
                raise KeyError
    return kept


def test_a_start_clears_what_a_killed_one_had_under_way_and_nothing_else(run):
    with subprocess.Popen(["true"]) as gone:
        pass
    killed = under_way(run.folder, gone.pid)
    others = [run.folder / ".notes.json", run.folder / ".run.json.0123abcd", *under_way(run.folder, os.getppid())]
    for file in others[:2]:
        file.write_text("")
    RunFolder(run.folder, {"model": "m"}).begin()
    assert not any(file.exists() for file in killed) and all(file.exists() for file in others)
    clear_blocks(run.folder)
    assert [file.exists() for file in others] == [True, True, False, False, False]


@pytest.mark.parametrize("value", [True, "0.5", -0.1, 1.5, math.nan, None, [0.5]])
def test_a_sparsity_that_is_none_is_named(run, value):
    change(run.folder / "allocation.json", ["sparsities", "both", "q_proj"], value)
    with pytest.raises(ValueError, match=r"allocation.json: sparsities.both.q_proj is .*: Input should be"):
        run.read_allocation()


def test_a_run_that_does_not_say_what_it_is_is_another(run):
    (run.folder / "run.json").write_text("{}")
    with pytest.raises(ValueError, match="holds another run: model is None there and 'm' here"):
        RunFolder(run.folder, {"model": "m"})


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["errors", "q_proj"], "much", "errors.q_proj is 'much'"),
        (["bytes", "after"], True, "bytes.after is True"),
        (["bytes"], {}, "has no bytes.before"),
        (["settings", "bits"], 4.5, "settings.bits is 4.5"),
        (["settings", "targets"], "q_proj", "settings.targets is 'q_proj'"),
    ],
)
def test_a_quantization_of_other_values_is_named(tmp_path, path, value, message):
    settings = {"bits": 4, "group_size": "row", "targets": ["q_proj"]}
    record = QuantizationRecord("m", settings, {}, {"q_proj": 0.1}, {"before": 8, "after": 2})
    record.write(tmp_path)
    assert QuantizationRecord.read(tmp_path) == record
    change(tmp_path / "quantization.json", path, value)
    with pytest.raises(ValueError, match=rf"quantization.json:? {message}"):
        QuantizationRecord.read(tmp_path)
