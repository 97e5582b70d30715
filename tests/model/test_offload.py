import os

import pytest
import torch
from helpers.tiny import make_batch, random_llava
from transformers import AutoModelForImageTextToText

import atv
from atv.calibration.waiting import Parked
from atv.model.block_shards import finish_folder
from atv.model.lvlm import LVLM
from atv.model.offload import is_offloaded, load_offloaded
from atv.model.offloaded_blocks import OffloadedBlocks
from atv.records.run_folder import RunFolder

BATCHES = [make_batch([5, 8], 1), make_batch([6], 2), make_batch([12, 4], 3, side="right")]
CPU = torch.device("cpu")
OPTIONS = [
    {},
    {"pattern": "2:4", "propagate": False},
    {"targets": ["mlp.*"]},
    {"criterion": "SparseGPT", "selection": "AttentionTopK"},
    {"refine": "SparseSwaps", "reconstruct": "LeastSquares", "selection": "WeightedPools"},
    {"allocation": "OWL", "pattern": "PerBlock"},
    {"allocation": "DAS", "selection": "AMIA"},
    {"criterion": "WandaPlusPlus", "selection": "TokenSensitivity", "reconstruct": "BlockReconstruction"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense")
    random_llava().save_pretrained(folder)
    return folder


def pruned_on_disk(folder, into, **options):
    model = load_offloaded(folder, "disk", CPU, into / ".offload")
    report = atv.prune(model, BATCHES, run_dir=into, **options)
    finish_folder(LVLM.of(model), into)
    return model, report


@pytest.mark.parametrize("options", OPTIONS)
def test_masks_and_weights_are_those_of_the_whole_model(options, folder, tmp_path):
    whole = random_llava()
    expected = atv.prune(whole, BATCHES, **options)
    model, report = pruned_on_disk(folder, tmp_path, **options)
    assert all(torch.equal(report.masks[name], mask) for name, mask in expected.masks.items())
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert all(torch.equal(loaded.state_dict()[name], weight) for name, weight in whole.state_dict().items())
    with torch.no_grad():
        assert torch.equal(model(**BATCHES[1]).logits, whole(**BATCHES[1]).logits)


def test_an_offloaded_model_is_saved_in_another_folder_too(folder, tmp_path):
    model = load_offloaded(folder, "disk", CPU, tmp_path / "run" / ".offload")
    report = atv.prune(model, BATCHES, run_dir=tmp_path / "run")
    atv.save(tmp_path / "out", model, None, report)
    whole = random_llava()
    atv.prune(whole, BATCHES)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in whole.state_dict().items())


def test_two_blocks_at_most_are_on_the_device(folder, tmp_path, monkeypatch):
    loaded = []

    class Counting(atv.TextOnly):
        def select(self, tokens):
            weights = [next(block.parameters()) for block in blocks]
            loaded.append([index for index, weight in enumerate(weights) if weight.device.type != "meta"])
            return super().select(tokens)

    model = load_offloaded(folder, "disk", CPU, tmp_path / ".offload")
    blocks = LVLM.of(model).blocks
    atv.prune(model, BATCHES, selection=Counting(), run_dir=tmp_path)
    # The first is the trial of the rule, before any block is loaded.
    assert loaded[0] == [] and {tuple(present) for present in loaded[1:]} == {(0,), (0, 1), (1, 2)}
    assert is_offloaded(model) and not list((tmp_path / ".waiting").iterdir())


def test_a_stopped_run_goes_on_from_its_shards(folder, tmp_path, monkeypatch):
    stopped = OSError("disk full")
    store = OffloadedBlocks.write_block

    def fails(self, block):
        if block == 2:
            raise stopped
        store(self, block)

    monkeypatch.setattr(OffloadedBlocks, "write_block", fails)
    with pytest.raises(OSError, match="disk full"):
        pruned_on_disk(folder, tmp_path)
    monkeypatch.setattr(OffloadedBlocks, "write_block", store)
    _, report = pruned_on_disk(folder, tmp_path)
    expected = atv.prune(random_llava(), BATCHES)
    assert all(torch.equal(report.masks[name], mask) for name, mask in expected.masks.items())


def begun_whole(folder, into, monkeypatch, **options):
    """A run of two finished blocks, whose model was not offloaded."""
    store = RunFolder.write_block

    def fails(self, block):
        if block.report.block == 2:
            raise MemoryError
        store(self, block)

    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(RunFolder, "write_block", fails)
        atv.prune(AutoModelForImageTextToText.from_pretrained(folder), BATCHES, run_dir=into, **options)


@pytest.mark.parametrize("propagate", [True, False])
def test_a_run_begun_whole_goes_on_offloaded(propagate, folder, tmp_path, monkeypatch):
    begun_whole(folder, tmp_path, monkeypatch, propagate=propagate)
    whole = random_llava()
    atv.prune(whole, BATCHES, propagate=propagate)
    pruned_on_disk(folder, tmp_path, propagate=propagate)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in whole.state_dict().items())


def test_a_run_begun_offloaded_goes_on_whole_and_leaves_one_set_of_weights(folder, tmp_path):
    pruned_on_disk(folder, tmp_path)
    (tmp_path / "config.json").unlink()
    model = AutoModelForImageTextToText.from_pretrained(folder)
    atv.save(tmp_path, model, None, atv.prune(model, BATCHES, run_dir=tmp_path))
    left = {file.name for file in tmp_path.iterdir() if file.name.startswith("model")}
    assert left == {"model.safetensors"}


def test_a_run_that_was_saved_whole_has_no_weights_for_an_offloaded_model(folder, tmp_path):
    whole = AutoModelForImageTextToText.from_pretrained(folder)
    atv.save(tmp_path, whole, None, atv.prune(whole, BATCHES, run_dir=tmp_path))
    model = load_offloaded(folder, "disk", CPU, tmp_path / ".offload")
    atv.prune(model, BATCHES, run_dir=tmp_path)
    with pytest.raises(ValueError, match=r"run_dir: the model in '.*' was saved whole; load it without offload"):
        model(**BATCHES[1])


def test_weights_that_are_elsewhere_cannot_be_moved(folder, tmp_path):
    with pytest.raises(ValueError, match="ECoFLaP changes weights in place and does not support offloaded models"):
        pruned_on_disk(folder, tmp_path, allocation="ECoFLaP")


def test_what_cannot_be_offloaded_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="offload: blocks are on the CPU already"):
        load_offloaded(folder, "cpu", CPU, tmp_path)
    model = load_offloaded(folder, "disk", CPU, tmp_path)
    with pytest.raises(ValueError, match="run_dir: an offloaded model needs one"):
        atv.prune(model, BATCHES)
    with pytest.raises(ValueError, match="pathways of an offloaded model"):
        atv.decouple(model, BATCHES, text=atv.Pathway("TextOnly"), visual=atv.Pathway("VisualOnly"))


def test_a_parked_tensor_has_no_memory_until_it_is_restored(tmp_path):
    tensor = torch.randn(3, 50, dtype=torch.bfloat16)
    view, before = tensor[1:], tensor.clone()
    parked = Parked(tensor, tmp_path / "waiting" / "0")
    assert tensor.untyped_storage().nbytes() == 0
    parked.restore()
    assert torch.equal(tensor, before) and torch.equal(view, before[1:])
    assert not os.listdir(tmp_path / "waiting")


def test_a_full_disk_is_an_error_and_leaves_the_tensor(tmp_path):
    tensor, file = torch.randn(3, 50), tmp_path / "full"
    file.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        Parked(tensor, file)
    assert tensor.untyped_storage().nbytes() == 600 and not file.is_symlink()
