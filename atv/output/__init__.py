"""What is written beside a pruned model's weights: report, model card, upload, and the disk that it takes.

Whether a folder is what they say is checked in ``atv.verification``.
"""
