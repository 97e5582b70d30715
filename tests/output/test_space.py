import shutil
from types import SimpleNamespace

import pytest

from atv.calibration.pathway_choice import Pathway
from atv.model.lvlm import LVLM
from atv.output.pruned_folder import output_bytes
from atv.records.files import require_space


@pytest.mark.parametrize("criterion", ["Wanda", "SparseGPT"])
def test_a_run_writes_no_more_than_was_foreseen(llava, batches, tmp_path, criterion):
    import atv

    lvlm = LVLM.of(llava)
    targets = lvlm.targets(["up_proj"])
    foreseen = output_bytes(lvlm, targets, Pathway("TextOnly", criterion=criterion).plan(lvlm, targets))
    atv.prune(llava, batches, criterion=criterion, targets=["up_proj"], run_dir=tmp_path)
    llava.save_pretrained(tmp_path)
    written = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
    assert 0 <= written - foreseen < 20_000  # headers


def test_what_is_there_already_needs_no_space(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    (tmp_path / "shard").write_bytes(bytes(900))
    require_space(tmp_path, 1000, "output")
    with pytest.raises(ValueError, match=r"output: .* needs 0.00 GB more and 0.00 GB are free; free space or choose"):
        require_space(tmp_path, 1001, "output")
