"""Writes a pruned model's folder: weights, report and model card; estimates its disk space and uploads it to the hub.

``atv.verification`` checks that such a folder is correct.
"""
