"""Verification that a pruned model's folder is what it claims to be, by file and by tensor; nothing is ever changed."""
