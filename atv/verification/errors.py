"""What a check says when it fails."""


class VerificationError(ValueError):
    """A folder is not what its report or its base model says; the message names the first tensor that differs."""
