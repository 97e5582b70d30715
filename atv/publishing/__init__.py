"""Masks as something to publish: packed with what they need, put on a fresh base model again, and compared.

How masks lie in a file is in ``atv.records.masks``, what else is written beside a pruned model in ``atv.output``.
"""
