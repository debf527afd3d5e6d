"""Attacks on the sandbox and on the judges, by what they aim at; `python -m tests.attacks` runs them all."""
