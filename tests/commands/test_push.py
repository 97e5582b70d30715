import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import LocalTokenNotFoundError

TOKEN = "hf_secret"


@pytest.fixture
def hub(monkeypatch):
    """Notes what would have been sent; nothing is."""
    calls = []

    def note(method, result=None):
        def call(self, *args, **options):
            calls.append((method, args, options))
            return result

        monkeypatch.setattr(HfApi, method, call)

    note("whoami", {"name": "someone"})
    note("create_repo", "https://huggingface.co/someone/sparse")
    note("upload_folder")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return calls


def test_the_finished_folder_is_sent_and_what_the_run_keeps_for_itself_is_not(atv_command, hub, small_pool, tmp_path):
    options = ["--output", tmp_path / "out", "--samples", 2, "--calibration", small_pool]
    assert atv_command("prune", *options)[0] == 0 and not hub  # nothing is sent unless asked
    for _ in range(2):  # a finished run is sent again, not run again
        code, out, err = atv_command("prune", *options, "--push_to_hub", "someone/sparse")
        assert code == 0, err
        assert [method for method, *_ in hub] == ["whoami", "create_repo", "upload_folder"]
        sent = hub[-1][2]
        assert sent["repo_id"] == "someone/sparse" and sent["folder_path"] == tmp_path / "out"
        assert {"run.json", "allocation.json"} <= set(sent["ignore_patterns"])
        assert TOKEN not in out + err and not any(
            TOKEN in file.read_text() for file in (tmp_path / "out").glob("*") if file.suffix in (".json", ".md")
        )
        hub.clear()


def test_without_a_login_nothing_is_begun(atv_command, hub, monkeypatch, tmp_path):
    def unknown(self):
        raise LocalTokenNotFoundError(f"Authorization: Bearer {TOKEN}")

    monkeypatch.setattr(HfApi, "whoami", unknown)
    code, _, err = atv_command("prune", "--output", tmp_path / "out", "--samples", 2, "--push_to_hub", "someone/x")
    assert code == 2 and "push_to_hub: no login that the hub takes" in err and TOKEN not in err
    code, _, err = atv_command("prune", "--output", tmp_path / "out", "--push_to_hub", "not a name!")
    assert code == 2 and "push_to_hub: " in err.splitlines()[-1] and "not a name!" in err
    assert not (tmp_path / "out" / "config.json").exists() and not hub
