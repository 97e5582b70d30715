"""The paper's experiments on real models: the runs, their estimated cost, and the code that runs them."""
