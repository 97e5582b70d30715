"""Hugging Face hub ids: recognizing and fetching them, and explaining errors. Nothing else in atv uses the network."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
# Repositories often contain the weights a second time, in different formats.
_WANTED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
_UNWANTED = ("*/*", "consolidated*")


def reads_as_hub_id(name: str) -> bool:
    """Returns whether ``name`` reads ``owner/name`` or ``owner/name@revision``, regardless of local folders."""
    return bool(_ID.fullmatch(name))


def is_hub_id(name: str) -> bool:
    """Returns whether ``name`` reads ``owner/name`` or ``owner/name@revision`` and no local path ``owner`` exists."""
    return reads_as_hub_id(name) and not Path(name.split("/", 1)[0]).exists()


def split_revision(name: str) -> tuple[str, str | None]:
    """Splits ``owner/name@revision`` into id and revision (a branch, tag or commit; None is the newest)."""
    repository, _, revision = name.partition("@")
    return repository, revision or None


def fetch_model(name: str, code: bool = False) -> Path:
    """Returns the local folder of a hub model, fetched if necessary; the folder's name is the commit.

    Args:
        name: hub id, optionally with ``@revision``.
        code: whether to fetch Python files, too.

    Raises:
        ValueError: if the id cannot be fetched; the message says why and what to do.
    """
    repository, revision = split_revision(name)
    file_patterns = [*_WANTED, "*.py"] if code else list(_WANTED)
    with hub_errors("model", name):
        return Path(
            snapshot_download(
                repository, revision=revision, allow_patterns=file_patterns, ignore_patterns=list(_UNWANTED)
            )
        )


@contextmanager
def hub_errors(field: str, name: str) -> Iterator[None]:
    """Turns errors of the hub's clients into one line that names the field, the id and what to do.

    Raises:
        ValueError: if the id is gated, does not exist, lacks the revision, or cannot be reached.
    """
    try:
        yield
    except (OSError, httpx.HTTPError) as error:
        # Errors of the system, such as a full disk, have nothing to do with the hub.
        if getattr(error, "errno", None) and not isinstance(error, ConnectionError):
            raise
        raise ValueError(f"{field}: {_explanation(error, *split_revision(name))}") from error


def _explanation(error: BaseException, repository: str, revision: str | None) -> str:
    causes = list(_causes(error))
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return (
            f"{repository!r} is gated: request access on its page on huggingface.co, then log in with `hf auth login` "
            "or set HF_TOKEN"
        )
    if any(isinstance(cause, RevisionNotFoundError) for cause in causes):
        return f"{repository!r} has no revision {revision!r}"
    if any(isinstance(cause, RepositoryNotFoundError) or "doesn't exist on the Hub" in str(cause) for cause in causes):
        return f"{repository!r} is neither a local path nor on the hub; a private repository needs `hf auth login`"
    if any(isinstance(cause, HfHubHTTPError) for cause in causes):
        return f"the hub refused {repository!r}: {error}"
    return (
        f"{repository!r} is not a local path, and the hub cannot be reached (or HF_HUB_OFFLINE is set) to fetch it; "
        "fetch it with `hf download` while the hub can be reached, or give a folder"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
