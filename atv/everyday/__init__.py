"""The everyday model: a real language model that sees, and its world of everyday things as emoji draw them."""
