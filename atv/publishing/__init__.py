"""Publishes masks: packs them with what they need, applies them to a fresh base model, and compares two sets.

``atv.records.masks`` defines their file format; ``atv.output`` writes the other files of a pruned model.
"""
