import errno
import shutil

import httpx
import pytest
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

import atv
from atv.bundled import BUNDLED_MODEL
from atv.data import HFDataset
from atv.data.sources import load_calibration
from atv.model.loading import model_folder
from atv.runtime.hub import is_hub_id, split_revision


def refusal(kind, status):
    return kind("refused", response=httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co")))


def of_datasets(cause):
    error = DatasetNotFoundError("Dataset cannot be accessed")
    error.__cause__ = cause
    return error


GATED, MISSING = refusal(GatedRepoError, 403), refusal(RepositoryNotFoundError, 401)
REVISION = refusal(RevisionNotFoundError, 404)
CASES = [
    (GATED, "'owner/name' is gated: request access on its page on huggingface.co, then log in with `hf auth login`"),
    (MISSING, "'owner/name' is neither a local path nor on the hub; a private repository needs `hf auth login`"),
    (REVISION, "'owner/name' has no revision 'v2'"),
    (refusal(HfHubHTTPError, 500), "the hub refused 'owner/name'"),
    (LocalEntryNotFoundError("not in the cache"), "the hub cannot be reached (or HF_HUB_OFFLINE is set)"),
    (OfflineModeIsEnabled("offline"), "the hub cannot be reached (or HF_HUB_OFFLINE is set)"),
    (httpx.ConnectError("no route"), "the hub cannot be reached (or HF_HUB_OFFLINE is set)"),
]


@pytest.mark.parametrize(("error", "message"), CASES, ids=lambda case: type(case).__name__)
def test_a_model_that_the_hub_does_not_give(monkeypatch, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("atv.runtime.hub.snapshot_download", fail)
    with pytest.raises(ValueError, match=r"^model: ") as raised:
        model_folder("owner/name@v2")
    assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(("error", "message"), CASES, ids=lambda case: type(case).__name__)
def test_data_that_the_hub_does_not_give(monkeypatch, error, message):
    def fail(*_, **__):
        raise of_datasets(error)

    monkeypatch.setattr("atv.data.hf_dataset.load_dataset", fail)
    with pytest.raises(ValueError, match=r"^calibration: ") as raised:
        load_calibration("owner/name@v2")
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_full_disk_is_not_blamed_on_the_hub(monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("atv.runtime.hub.snapshot_download", fail)
    with pytest.raises(OSError, match="No space left"):
        model_folder("owner/name")


def test_id_and_revision_go_to_the_hub(monkeypatch, tmp_path):
    asked = []

    def download(repository, **options):
        asked.append((repository, options))
        return str(tmp_path)

    monkeypatch.setattr("atv.runtime.hub.snapshot_download", download)
    assert model_folder("owner/name@v2") == tmp_path
    assert model_folder("owner/name", trust_remote_code=True) == tmp_path
    (first, options), (second, trusting) = asked
    assert first == second == "owner/name" and options["revision"] == "v2" and trusting["revision"] is None
    assert "*.safetensors" in options["allow_patterns"] and "*.py" not in options["allow_patterns"]
    assert "*.py" in trusting["allow_patterns"]


def test_a_model_of_the_hub_knows_its_commit(monkeypatch, tmp_path):
    folder = tmp_path / "models--owner--name" / "snapshots" / ("0123456789" * 4)
    shutil.copytree(BUNDLED_MODEL, folder)
    monkeypatch.setattr("atv.runtime.hub.snapshot_download", lambda *_, **__: str(folder))
    loaded, _ = atv.load("owner/name@v2")
    assert (loaded.name_or_path, loaded.config._commit_hash) == ("owner/name@v2", folder.name)
    assert atv.load(shutil.copytree(folder, tmp_path / "copy"))[0].config._commit_hash is None


def test_data_of_the_hub_are_asked_for_by_configuration_split_and_revision(monkeypatch):
    from helpers.layouts import llava_next_rows

    asked = []

    def load(*arguments, **options):
        asked.append((arguments, options))
        return llava_next_rows(3)

    monkeypatch.setattr("atv.data.hf_dataset.load_dataset", load)
    assert len(HFDataset("owner/name@v2", config="en", split="dev")) == 3
    assert asked == [(("owner/name", "en"), {"split": "dev", "revision": "v2", "streaming": False})]


@pytest.mark.parametrize("name", ["nowhere", "/owner/name", "./owner/name", "a/b/c", "owner/name@", "tests/nowhere"])
def test_a_path_never_reaches_the_network(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").mkdir()
    monkeypatch.setattr("atv.runtime.hub.snapshot_download", lambda *_, **__: pytest.fail("the network was asked"))
    monkeypatch.setattr("atv.data.hf_dataset.load_dataset", lambda *_, **__: pytest.fail("the network was asked"))
    assert not is_hub_id(name)
    with pytest.raises(ValueError, match=r"^model: no model at"):
        model_folder(name)
    with pytest.raises(ValueError, match=r"^calibration"):
        load_calibration(name)


def test_revisions():
    assert split_revision("owner/name") == ("owner/name", None)
    assert split_revision("owner/name@refs/pr/1") == ("owner/name", "refs/pr/1")
