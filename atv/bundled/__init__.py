"""The bundled world: pictures, questions, knowledge, and the model that was trained on them."""
