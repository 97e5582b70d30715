"""The recipe of the everyday artwork: turns emoji packages into one picture file and its table."""
