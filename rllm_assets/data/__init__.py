"""Issues, benchmarks, trajectories and splits: records, sources, tables."""
