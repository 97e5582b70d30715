"""Questions, answers by greedy decoding, scores and retention."""
