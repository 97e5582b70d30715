"""Assembly of the everyday model: two pretrained halves from wheels, with our updates merged, as an ordinary folder."""
