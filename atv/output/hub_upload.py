"""Uploads a pruned model's folder to the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id

# Files that only the run itself needs.
_PRIVATE = [".*", "**/.*", "blocks/*", "run.json", "allocation.json"]


def check_login(name: str) -> None:
    """Checks, before long work, that ``name`` is a valid repository name and that the user is logged in to the hub.

    Only huggingface_hub handles the token; this code never reads, prints or writes it.

    Raises:
        ValueError: if the name is invalid, or the hub accepts no login.
    """
    try:
        validate_repo_id(name)
        HfApi().whoami()
    except (LocalTokenNotFoundError, HfHubHTTPError) as error:
        # The hub's own message may quote request headers.
        raise ValueError(
            f"push_to_hub: no login that the hub accepts ({type(error).__name__}); run hf auth login"
        ) from None
    except ValueError as error:
        raise ValueError(f"push_to_hub: {error}") from error


def push(folder: Path, name: str) -> str:
    """Creates the repository if needed, uploads model, processor, masks, report, card and figure; returns its URL."""
    api = HfApi()
    url = api.create_repo(name, exist_ok=True)
    api.upload_folder(
        repo_id=name, folder_path=folder, ignore_patterns=_PRIVATE, commit_message="Upload a model pruned by atv"
    )
    return str(url)
