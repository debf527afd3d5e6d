"""Partitions, jobs, sensors and executors: what makes runs happen and where they happen."""
