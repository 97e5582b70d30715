"""Where the made model lies, for ``--model everyday``."""

import os
from pathlib import Path

from atv.everyday.assembly.download import cache_folder
from atv.everyday.assembly.made_folder import Manifest, check_folder, read_manifest

EVERYDAY = "everyday"
VERSION = 1
# Of all weights of this version's model, on every machine.
DIGEST: str | None = "aa3e2b47139bbe773e755d9d97566022728bda3e9c48070ee7c775afc6667cf4"
_HOW = "run `make everyday-model`"


def everyday_folder() -> Path:
    """``$ATV_EVERYDAY``, else a folder in atv's cache that carries the model's version."""
    given = os.environ.get("ATV_EVERYDAY")
    return Path(given) if given else cache_folder() / f"{EVERYDAY}-{VERSION}"


def made_model() -> Path:
    """The folder of the everyday model, each of its files checked.

    Raises:
        ValueError: when it was not made yet, is not whole, or is another version's.
    """
    folder = everyday_folder()
    if not folder.is_dir():
        raise ValueError(f"model: {EVERYDAY} is not made yet (no folder {str(folder)!r}); {_HOW}")
    try:
        manifest = check_folder(folder)
    except ValueError as error:
        raise ValueError(f"model: {error}; {_HOW} again") from error
    if DIGEST is not None and manifest.digest != DIGEST:
        raise ValueError(
            f"model: {str(folder)!r} holds a model of digest {manifest.digest[:12]}, where version {VERSION} of "
            f"{EVERYDAY} has {DIGEST[:12]}; {_HOW} again, or give the folder itself as --model"
        )
    return folder


def made_already() -> Manifest | None:
    """The manifest of this version's model, where it lies in its place and is whole."""
    try:
        return read_manifest(made_model()) if DIGEST else None
    except ValueError:
        return None
