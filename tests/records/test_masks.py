import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from safetensors.torch import save_file

import atv
from atv.records.files import atomic, saved_atomically
from atv.records.masks import PackedMask, PackedMasks, overlap, random_overlap, save_masks
from atv.records.run_folder import run_folder

MASKS = st.dictionaries(
    st.text("abc.019_", min_size=1, max_size=12),
    arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 20))).map(torch.from_numpy),
    min_size=1,
    max_size=3,
)


@given(MASKS)
def test_masks_survive_packing(tmp_path_factory, masks):
    path = tmp_path_factory.mktemp("masks") / "masks.safetensors"
    save_masks(path, masks)
    loaded = atv.load_masks(path)
    assert loaded.keys() == masks.keys()
    assert all(torch.equal(loaded[name], mask) for name, mask in masks.items())


@given(MASKS)
def test_packed_masks_hold_one_bit_an_entry_and_nothing_in_their_padding(masks):
    packed = PackedMasks(masks)
    for name, mask in masks.items():
        bits = np.unpackbits(packed.packed[name].numpy(), axis=1, bitorder="little")
        assert bits.shape == (len(mask), 8 * -(-mask.shape[1] // 8))
        assert bits.sum() == int(mask.sum())
    assert packed.pruned == sum(int((~mask).sum()) for mask in masks.values())


@given(arrays(bool, st.tuples(*[st.integers(1, 4)] * 2, st.integers(1, 20))).map(torch.from_numpy))
def test_masks_of_experts_clear_what_they_prune(kept):
    mask = PackedMask(kept)
    assert mask.bits.shape == (*kept.shape[:-1], -(-kept.shape[-1] // 8)) and torch.equal(mask.unpacked(), kept)
    cleared = mask.cleared(torch.where(kept, 2.0, torch.nan))
    assert torch.equal(cleared, 2.0 * kept)


def test_the_format_is_as_documented(tmp_path):
    save_masks(tmp_path / "m", {"x": torch.tensor([[1, 0, 0, 0, 0, 0, 0, 0, 1, 1]]).bool()})
    with safe_open(tmp_path / "m", "pt") as file:
        assert file.metadata()["format"] == "atv-masks/1" and json.loads(file.metadata()["shapes"]) == {"x": [1, 10]}
        assert file.get_tensor("x").tolist() == [[1, 3]]


def metadata(**said):
    return lambda file: save_file({"x": torch.zeros(2, 1, dtype=torch.uint8)}, file, {"format": "atv-masks/1"} | said)


NO_MASKS = {
    "another format": (lambda file: save_file({"x": torch.zeros(1)}, file), "expected format atv-masks/1, got None"),
    "a later format": (metadata(format="atv-masks/2"), "expected format atv-masks/1, got 'atv-masks/2'"),
    "cut short": (lambda file: file.write_bytes(file.read_bytes()[:-1]), "incomplete metadata"),
    "a pointer": (lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\n"), "header too large"),
    "empty": (lambda file: file.write_bytes(b""), "header too small"),
    "a folder": (lambda file: (file.unlink(), file.mkdir()), "m is not a complete mask file"),
    "no shapes": (metadata(), "'shapes'"),
    "shapes of another kind": (metadata(shapes="[1]"), "is not a complete mask file"),
    "shapes that are no JSON": (metadata(shapes="x"), "Expecting value"),
    "a shape that is none": (metadata(shapes='{"x": "wide"}'), "is not a complete mask file"),
    "another shape": (metadata(shapes='{"x": [3, 5]}'), r"mask of x does not have the expected shape \[3, 5\]"),
    "a mask that is not there": (metadata(shapes='{"y": [2, 5]}'), "y"),
}


@pytest.mark.parametrize("what", NO_MASKS)
def test_what_is_no_file_of_masks_is_named(what, tmp_path):
    change, message = NO_MASKS[what]
    save_masks(tmp_path / "m", {"x": torch.ones(2, 5, dtype=torch.bool)})
    change(tmp_path / "m")
    with pytest.raises(ValueError, match=message) as error:
        atv.load_masks(tmp_path / "m")
    assert str(tmp_path / "m") in str(error.value) and "\n" not in str(error.value)


def test_packed_masks_are_a_mapping_that_counts():
    masks = {"a": torch.tensor([[True, False, True]]), "b": torch.ones(2, 9, dtype=torch.bool)}
    packed = PackedMasks(masks)
    assert list(packed) == ["a", "b"] and all(torch.equal(packed[name], masks[name]) for name in masks)
    assert packed.pruned == 1 and packed.sparsity == 1 / 21
    packed.update(PackedMasks({"a": torch.zeros(1, 3, dtype=torch.bool)}))
    assert packed.pruned == 3 and len(packed) == 2


def by_hand(a, b):
    pairs = list(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    either = sum(x or y for x, y in pairs)
    return sum(x and y for x, y in pairs) / either if either else 1.0


@given(MASKS, st.randoms())
def test_overlap_is_intersection_over_union_of_what_is_kept(masks, random):
    others = {
        name: torch.tensor([[random.random() < 0.5 for _ in row] for row in mask.tolist()])
        for name, mask in masks.items()
    }
    expected = {name: by_hand(mask, others[name]) for name, mask in masks.items()}
    assert overlap(masks, others) == overlap(PackedMasks(masks), others) == pytest.approx(expected)
    assert set(overlap(masks, masks).values()) == {1.0}


def test_random_masks_share_what_is_expected():
    drawn = torch.rand(2, 400, 500, generator=torch.Generator().manual_seed(0))
    assert random_overlap(0.5) == 1 / 3
    for kept in (0.2, 0.5, 0.9):
        iou = overlap({"x": drawn[0] < kept}, {"x": drawn[1] < kept})["x"]
        assert iou == pytest.approx(random_overlap(kept), abs=0.005)


def test_sets_that_do_not_match_have_no_overlap():
    one, wide = torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="b is in only one of the two sets"):
        overlap({"a": one, "b": one}, {"a": one})
    with pytest.raises(ValueError, match=r"a has shape \[1, 3\] in one set and \[1, 4\] in the other"):
        overlap({"a": one}, {"a": wide})


def test_equal_masks_are_equal_bytes(tmp_path):
    masks = {f"layers.{index}.up": torch.rand(3, 21) > 0.5 for index in range(3)}
    for number in range(8):
        save_masks(tmp_path / str(number), masks)
    assert len({(tmp_path / str(number)).read_bytes() for number in range(8)}) == 1
    assert all(torch.equal(atv.load_masks(tmp_path / "0")[name], mask) for name, mask in masks.items())


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError), atomic(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_saved_folder_has_ordinary_modes_and_nothing_of_a_killed_run(tmp_path):
    (tmp_path / ".writing").mkdir()
    (tmp_path / ".writing" / "half").write_text("")

    def write(into):
        os.close(os.open(into / "private", os.O_CREAT, 0o600))

    saved_atomically(tmp_path, write)
    (tmp_path / "ordinary").write_text("")
    assert sorted(os.listdir(tmp_path)) == ["ordinary", "private"]
    assert (tmp_path / "private").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_sub_folders_can_be_entered_and_filled_again(tmp_path):
    def write(into):
        (into / "chat_templates" / "deep").mkdir(parents=True)
        for name in ("config.json", "chat_templates/tool.jinja", "chat_templates/deep/rag.jinja"):
            (into / name).write_text(name)

    for _ in range(2):
        saved_atomically(tmp_path, write)
    (tmp_path / "ordinary").mkdir()
    ordinary = (tmp_path / "ordinary").stat().st_mode
    assert {(tmp_path / name).stat().st_mode for name in ("chat_templates", "chat_templates/deep")} == {ordinary}
    assert (tmp_path / "chat_templates" / "deep" / "rag.jinja").read_text() == "chat_templates/deep/rag.jinja"
    assert not (tmp_path / ".writing").exists()


def test_a_folder_with_what_a_refused_command_left_can_be_used(tmp_path):
    (tmp_path / ".offload").mkdir()
    assert run_folder(tmp_path, "output") == tmp_path
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"^output: .* is not empty and holds no run of this command"):
        run_folder(tmp_path, "output")
