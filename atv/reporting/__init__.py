"""Makes one page of all ablations' results: the paper's numbers, ours, and the verdicts; runs nothing."""
