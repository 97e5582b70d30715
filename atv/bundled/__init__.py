"""The bundled world: generated pictures, questions and facts, and the model that was trained on them.

Data sets from elsewhere do not belong here.
"""

from pathlib import Path

# Name, on the command line, of the model and the data that ship with the package.
BUNDLED = "bundled"
BUNDLED_MODEL = Path(__file__).parent / "model"
