"""Command-line flags that the scripts share."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from rllm_assets.config import PRESETS, ConfigError, Layer, Resolved, environment_layer, read_layer, resolve
from rllm_assets.data.answers import ANSWER_FORMATS
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


def add_source_flags(parser: argparse.ArgumentParser, files: str) -> None:
    """Add the flags that go with a benchmark or with files; `refuse_idle` holds them to it."""
    parser.add_argument(
        "--benchmarks-dir", type=Path, help="with --benchmark-id (default: $RLLM_BENCHMARKS or ./benchmarks)"
    )
    parser.add_argument("--answer-format", choices=ANSWER_FORMATS, help=f"with {files} (default: function)")


def refuse_idle(args: argparse.Namespace, partners: Mapping[str, str]) -> None:
    """Refuse a flag that does nothing without its partner, such as ``{"--val-path": "--train-path"}``.

    Raises:
        ValueError: naming the first one.
    """

    def is_given(flag: str) -> bool:
        return getattr(args, flag.removeprefix("--").replace("-", "_")) is not None

    for flag, partner in partners.items():
        if is_given(flag) and not is_given(partner):
            raise ValueError(f"{flag} goes with {partner}, and has no effect without it; remove it")


def settings(pairs: Sequence[str]) -> dict[str, object]:
    """Return the keys of --set; values are read as YAML.

    Raises:
        ConfigError: for one without "=", or whose value is not YAML.
    """
    values: dict[str, object] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise ConfigError(f"--set {pair}: KEY=VALUE is expected")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {pair}: the value is not YAML: {' '.join(str(error).split())}") from None
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
