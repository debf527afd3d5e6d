"""Show the environments that tests of repositories run in, with their sizes, and free the disk of those that nobody needs."""

import argparse
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rllm_assets.verification.environments import Environment, InUseError, environments, remove

BAD_INPUT = 2
_DAY = 86400


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 fine, 1 one to be removed is in use, 2 bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m rllm_assets.scripts.environments", description=__doc__, allow_abbrev=False
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--remove", nargs="+", metavar="KEY", default=[], help="remove these")
    chosen.add_argument(
        "--unused-for", type=float, metavar="DAYS", help="remove those that nothing has run in for so long"
    )
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    found = {environment.key: environment for environment in environments()}
    if unknown := [key for key in options.remove if key not in found]:
        print(f"error: there is no environment {unknown[0]}", file=sys.stderr)
        return BAD_INPUT
    leaving = [found[key] for key in options.remove]
    if options.unused_for is not None:
        leaving = [each for each in found.values() if time.time() - each.used > options.unused_for * _DAY]
    if options.remove or options.unused_for is not None:
        return _remove(console, leaving)
    console.print(_table(list(found.values())))
    return 0


def _remove(console: Console, leaving: Sequence[Environment]) -> int:
    freed, kept = 0, 0
    for environment in leaving:
        try:
            remove(environment.key)
            freed += environment.bytes
        except InUseError as error:
            console.print(f"[yellow]{error}[/]; it is kept")
            kept += 1
    console.print(f"{len(leaving) - kept} removed, {_size(freed)} freed")
    return 1 if kept else 0


def _table(found: Sequence[Environment]) -> Table:
    table = Table(caption=f"{len(found)} environments, {_size(sum(each.bytes for each in found))}")
    for heading in ("key", "size", "last used", "asked for", "holds"):
        table.add_column(heading, justify="right" if heading == "size" else "left", no_wrap=heading in ("key", "size"))
    for each in sorted(found, key=lambda each: -each.bytes):
        used = time.strftime("%Y-%m-%d", time.localtime(each.used))
        table.add_row(
            each.key, _size(each.bytes), used, escape(", ".join(each.requirements)), f"{len(each.installed)} packages"
        )
    return table


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"


if __name__ == "__main__":
    raise SystemExit(main())
