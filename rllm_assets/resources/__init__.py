"""Dagster's handles on the library: where artefacts lie, how they are configured, tracked, verified and served."""
