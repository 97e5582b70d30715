"""What is known of any LVLM: its decoder, experts, targets and visual tokens, and how it is loaded and watched.

Nothing here prunes, calibrates or scores; what differs between model types is written here and nowhere else.
"""
