"""Makes torchvision importable with a torch that its compiled part was not built for.

Processors need only its Python part, because resizing and normalising use torch's own operators.
"""

import importlib
import importlib.util
import re
import sys

import torch

_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")
# Kept in a variable, because a library's operators disappear with it.
_DECLARED = torch.library.Library("torchvision", "FRAGMENT")


def importable() -> bool:
    """Imports torchvision if it is installed, declaring missing operators without a body; returns whether it worked."""
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
