"""MLflow runs, registered adapters and lineage."""
