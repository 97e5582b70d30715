"""A public replication's protocol: one model, six ways to prune it, each calibrated on three benchmarks in turn."""
