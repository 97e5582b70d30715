"""Questions, answers by greedy decoding, scores and retention; what was pruned, and how, is not known here."""
