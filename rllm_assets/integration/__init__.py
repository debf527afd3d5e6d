"""What an application imports: benchmarks, trajectories and the ML side, awaitable, on the library that the assets use."""

from rllm_assets.integration.benchmarks import BenchmarkIntegration, Converted
from rllm_assets.integration.ml import MLIntegration
from rllm_assets.integration.trajectories import TrajectoryIntegration

__all__ = ["BenchmarkIntegration", "Converted", "MLIntegration", "TrajectoryIntegration"]
