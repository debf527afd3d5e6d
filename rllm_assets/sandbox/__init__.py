"""Run an untrusted job and say how it ended."""
