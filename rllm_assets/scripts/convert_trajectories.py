"""Write old agent runs, of whatever format, as chat JSONL: one run a line, secrets replaced, what was left out counted."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rllm_assets.data.readers.convert import Conversion, ConversionError, convert
from rllm_assets.data.readers.reports import ReportError

BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 when runs were written, 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m rllm_assets.scripts.convert_trajectories", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("source", type=Path, help="a file of runs, or a folder that is searched with those below it")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the chat JSONL to write")
    parser.add_argument(
        "--reports", type=Path, metavar="PATH", help="a report of SWE-bench, or a folder of those of one evaluation"
    )
    parser.add_argument("--rejected", type=Path, metavar="FILE", help="write what was left out here, with its reasons")
    parser.add_argument("--keep-secrets", action="store_true", help="do not replace keys, tokens and passwords")
    options = parser.parse_args(arguments)
    try:
        conversion = convert(
            options.source,
            options.output,
            reports=options.reports,
            rejected=options.rejected,
            redact=not options.keep_secrets,
        )
    except (ConversionError, ReportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    _print(conversion, options.output, options.rejected)
    return 0


def _print(conversion: Conversion, output: Path, rejected: Path | None) -> None:
    runs = sum(conversion.runs.values())
    print(
        f"{output}: {runs} runs ({_counts(conversion.runs)}), {conversion.steps} steps, {conversion.messages} messages"
    )
    print(f"resolved: {_counts(conversion.resolved)}")
    print(f"secrets replaced: {_counts(conversion.redactions) or 'none'}")
    if conversion.rejected or conversion.others:
        where = f"; see {rejected}" if rejected else f"; the first: {conversion.first_rejected}"
        print(f"left out: {conversion.rejected} that cannot be read, {conversion.others} that are no runs{where}")


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))


if __name__ == "__main__":
    sys.exit(main())
