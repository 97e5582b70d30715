"""Files that atv writes and reads back: masks, run folders and reports, with digests and the provenance of numbers.

``atv.output`` interprets the formats for readers of a finished folder; ``atv.verification`` checks what must hold.
"""
