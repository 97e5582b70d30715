"""The recipe of the everyday artwork: emoji packages into one picture file and its table."""
