import os

import pytest

from atv.records.files import atomic, saved_atomically
from atv.records.run_folder import run_folder


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
