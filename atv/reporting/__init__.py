"""One page of all ablations' results: what the paper says, what was measured here, and the verdict; nothing is run."""
