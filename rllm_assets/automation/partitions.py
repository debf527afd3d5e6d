"""One partition a benchmark: a sensor adds a benchmark by adding a key, and a backfill is a set of keys."""

import dagster as dg

benchmarks = dg.DynamicPartitionsDefinition(name="benchmarks")
