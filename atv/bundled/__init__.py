"""The bundled world: pictures, questions, knowledge, and the model that was trained on them; nobody else's data."""
