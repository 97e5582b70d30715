"""``make bench``: what pruning costs, as ratios measured side by side in one run; not shipped."""
