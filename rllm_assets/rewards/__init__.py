"""What an answer is worth: named terms with weights."""

from rllm_assets.rewards.score import Score, ScoreError, Scorer
from rllm_assets.rewards.terms import TERMS, Judged, Term

__all__ = ["TERMS", "Judged", "Score", "ScoreError", "Scorer", "Term"]
