"""How the everyday model was trained: low-rank updates of both halves and the projector between them; not shipped."""
