"""What produced a number: versions of the libraries, the code's revision, the hardware."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("atv", "torch", "lightning", "torchmetrics", "transformers", "datasets", "wandb", "numpy")


def provenance() -> dict[str, Any]:
    """What a record says of its making: ``versions``, ``git`` and ``hardware``."""
    return {"versions": dict(versions()), "git": git_revision(), "hardware": hardware()}


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that move numbers."""
    installed = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            installed[package] = "not installed"
    return installed


@cache
def git_revision() -> str:
    """The commit of the checkout that atv runs from when first asked, with "+" where it was changed, or "unknown"."""
    folder = Path(__file__).parent
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def hardware() -> str:
    """The device that numbers were measured on, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


@cache
def _processor() -> str:
    """The processor's name where Linux tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.machine())} CPU"
