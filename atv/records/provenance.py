"""Provenance of numbers: versions of the libraries, revision of the code, and hardware."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("atv", "torch", "lightning", "torchmetrics", "transformers", "datasets", "wandb", "numpy")


def provenance() -> dict[str, Any]:
    """Returns the provenance that records contain: ``versions``, ``git`` and ``hardware``."""
    return {"versions": dict(versions()), "git": git_revision(), "hardware": hardware()}


@cache
def versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries that affect numbers."""
    installed = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            installed[package] = "not installed"
    return installed


@cache
def git_revision() -> str:
    """Returns the commit of atv's checkout at the first call, with "+" if it has changes, or "unknown"."""
    folder = Path(__file__).parent
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def hardware() -> str:
    """Returns a description of the device on which numbers are measured."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


@cache
def _processor() -> str:
    """Returns the processor's name if Linux provides it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.machine())} CPU"
