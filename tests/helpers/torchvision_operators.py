"""Lets torchvision be imported beside a torch that its compiled part was not built for.

Processors need its Python part alone: resizing and normalising are torch's own operators.
"""

import importlib
import importlib.util
import re
import sys

import torch

_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")
# Kept, since a library's operators go with it.
_DECLARED = torch.library.Library("torchvision", "FRAGMENT")


def importable() -> bool:
    """Whether torchvision is installed; if so, it is imported, operators that it misses declared without a body."""
    if importlib.util.find_spec("torchvision") is None:
        return False
    for _ in range(50):
        try:
            importlib.import_module("torchvision")
            return True
        except RuntimeError as error:
            missing = _MISSING.search(str(error))
            if missing is None:
                raise
            _DECLARED.define(f"{missing[1]}(Tensor input) -> Tensor")
            for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[name]
    return False
