"""The recipe that made the bundled model: the vision tower learns words, then the language model learns to answer."""
