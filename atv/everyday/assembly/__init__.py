"""The everyday model put together: two pretrained halves out of wheels, our updates merged, an ordinary folder."""
