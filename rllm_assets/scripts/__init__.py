"""Command lines, for people without Dagster too."""
