"""A pruned model's folder, sent to the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id

# What a run keeps for itself.
_PRIVATE = [".*", "**/.*", "blocks/*", "run.json", "allocation.json"]


def check_login(name: str) -> None:
    """Checks, before long work, that ``name`` can be a repository and that the hub knows who asks.

    The token is huggingface_hub's own business: it is never read, printed or written here.

    Raises:
        ValueError: for a name that is none, or without a login that the hub takes.
    """
    try:
        validate_repo_id(name)
        HfApi().whoami()
    except (LocalTokenNotFoundError, HfHubHTTPError) as error:
        # The hub's own message may quote request headers.
        raise ValueError(f"push_to_hub: no login that the hub takes ({type(error).__name__}): hf auth login") from None
    except ValueError as error:
        raise ValueError(f"push_to_hub: {error}") from error


def push(folder: Path, name: str) -> str:
    """Makes the repository if need be and uploads model, processor, masks, report, card and figure; returns its URL."""
    api = HfApi()
    url = api.create_repo(name, exist_ok=True)
    api.upload_folder(
        repo_id=name, folder_path=folder, ignore_patterns=_PRIVATE, commit_message="Upload a model pruned by atv"
    )
    return str(url)
