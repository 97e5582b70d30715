"""The paper's experiments on real models: which runs there are, what they cost, and what runs them."""
