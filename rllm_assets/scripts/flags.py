"""Command-line flags that the scripts share."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml

from rllm_assets.config import PRESETS, ConfigError, Layer, Resolved, environment_layer, read_layer, resolve
from rllm_assets.data.benchmarks import Benchmark


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """Add --preset, --config and --set."""
    parser.add_argument("--preset", choices=sorted(PRESETS), help="configuration to start from (default: smollm2)")
    parser.add_argument("--config", type=Path, help="YAML of configuration keys")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a configuration key, such as training.group_size=4",
    )


def settings(pairs: Sequence[str]) -> dict[str, object]:
    """Return the keys of --set; values are read as YAML.

    Raises:
        ConfigError: for one without "=".
    """
    values: dict[str, object] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise ConfigError(f"--set {pair}: KEY=VALUE is expected")
        values[key] = yaml.safe_load(text)
    return values


def resolved_config(args: argparse.Namespace, benchmark: Benchmark | None, flags: dict[str, object]) -> Resolved:
    """Return the configuration: preset < benchmark.yaml < $RLLM_CONFIG < --config < flags.

    Raises:
        ConfigError: as `rllm_assets.config.resolve`.
    """
    given = {key: value for key, value in flags.items() if value is not None} | settings(args.set)
    file = [read_layer(args.config)] if args.config else []
    layers = [environment_layer(), *file, Layer("command line", given)]
    if benchmark is None:
        name = args.preset or "smollm2"
        return resolve(Layer(f"preset {name}", PRESETS[name], is_preset=True), *layers)
    if args.preset:
        benchmark = benchmark.model_copy(update={"preset": args.preset})
    return benchmark.resolve(*layers)
