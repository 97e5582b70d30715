"""The everyday model and its world: a language model and a vision tower, both pretrained, that answer questions about
pictures of everyday things; how it is put together, what it is asked and how it was trained, and nobody else's data."""
