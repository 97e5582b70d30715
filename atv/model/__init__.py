"""The structure of any LVLM: its decoder, experts, targets and visual tokens, and how it is loaded and observed.

Nothing here prunes, calibrates or scores. Everything that differs between model types is here and nowhere else.
"""
