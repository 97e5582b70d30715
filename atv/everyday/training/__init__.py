"""Training of the everyday model: low-rank updates of both halves, and the projector between them."""
