"""The configurations that a README.md names are those that are read."""

import pytest
from datasets import Dataset

from atv.data.dataset_card import declared_files
from atv.data.hf_dataset import load_rows
from atv.evaluation.benchmarks.source import Folder

HEAD = """---
license: mit
configs:
- config_name: faces
  data_files:
  - split: train
    path: shards/a-*.parquet
  - split: test
    path: [shards/b.parquet]
- config_name: cats
  {default}
  data_files: {cats}
---
# A data set
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shards").mkdir()
    for name in ("a-0", "a-1", "b", "c"):
        Dataset.from_dict({"text": [name]}).to_parquet(tmp_path / "shards" / f"{name}.parquet")
    return tmp_path


def said(folder, default="default: true", cats="shards/c.parquet"):
    (folder / "README.md").write_text(HEAD.format(default=default, cats=cats))
    return folder


def names(rows):
    return rows["text"][:]


def test_calibration_and_benchmarks_read_what_it_names(folder):
    said(folder)
    assert names(load_rows(str(folder), "faces", "train")) == ["a-0", "a-1"]
    assert names(load_rows(str(folder), None, "train")) == ["c"]
    assert [row["text"] for row in load_rows(str(folder), "faces", "train", streaming=True)] == ["a-0", "a-1"]
    assert names(Folder(folder).read("faces", "test")) == ["b"]
    # Of a configuration that it does not have it says nothing.
    assert declared_files(folder, "en", "test", "data") is None


@pytest.mark.parametrize("text", ["no head", "---\nlicense: mit\n---\n", "---\nconfigs: 3\n---\n"])
def test_a_card_that_names_no_files_changes_nothing(folder, text):
    (folder / "README.md").write_text(text)
    assert sorted(names(load_rows(str(folder), None, "train"))) == ["a-0", "a-1", "b", "c"]


@pytest.mark.parametrize(
    ("given", "asked", "message"),
    [
        ({}, ("faces", "dev"), r"calibration: README.md of .* has no split 'dev'; found train, test"),
        (
            {},
            ("dogs", "train"),
            r"calibration.config: .* or sub-folder 'dogs'; found cats, faces, shards",
        ),
        ({"default": ""}, (None, "train"), r"several configurations and no default; name one of faces, cats"),
        ({"cats": "gone/*.parquet"}, ("cats", "train"), r"names 'gone/\*.parquet', but there is no such file"),
        (
            {"cats": "README.md"},
            ("cats", "train"),
            r"names 'README.md'; expected files ending in .parquet, .arrow, .csv, .tsv",
        ),
        ({"cats": "/etc/*.parquet"}, ("cats", "train"), r"which is not a path inside the folder"),
        ({"cats": "[unclosed"}, ("cats", "train"), r"README.md' cannot be read: "),
    ],
)
def test_what_cannot_be_read_is_named(folder, given, asked, message):
    said(folder, **given)
    with pytest.raises(ValueError, match=message) as caught:
        load_rows(str(folder), *asked)
    assert "\n" not in str(caught.value)
