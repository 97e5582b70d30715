"""What comes out of a run: the sidecar, the model card, and the checks that the folder is what they say."""
