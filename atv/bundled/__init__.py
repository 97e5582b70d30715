"""The bundled world: pictures, questions, knowledge, and the model that was trained on them; nobody else's data."""

from pathlib import Path

# What a command line calls the model and the data that ship with the package.
BUNDLED = "bundled"
BUNDLED_MODEL = Path(__file__).parent / "model"
