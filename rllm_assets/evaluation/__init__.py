"""Is it better? Pass rates, paired statistics, the gate, and plots."""
