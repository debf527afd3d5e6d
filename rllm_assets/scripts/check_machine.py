"""Is everything there that pip does not install? Puts the sandbox in place where it may, and says what is missing.

python -m rllm_assets.scripts.check_machine
"""

import os
import shutil
import subprocess
import sys

from rich.console import Console
from rich.markup import escape

HOW = "sudo apt-get update && sudo apt-get install -y bubblewrap"


def main() -> int:
    """Install bubblewrap where this is Debian and root, probe the sandbox, and return 0; 1 where nothing strong is had."""
    console = Console(stderr=True)
    if shutil.which("bwrap") is None:
        _install(console)
    from rllm_assets.sandbox import grades

    problem = grades.probe("strong")
    if problem is None:
        return 0
    console.print(f"[red]no strong sandbox:[/] {escape(problem)}", highlight=False, soft_wrap=True)
    console.print(
        f"model-written code is not run without one; on Debian and Ubuntu: {HOW}", highlight=False, soft_wrap=True
    )
    return 1


def _install(console: Console) -> None:
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        console.print(f"bubblewrap is missing and needs root to install: {HOW}", highlight=False, soft_wrap=True)
        return
    console.print("installing bubblewrap")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "bubblewrap"]):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            console.print(f"{' '.join(command)} failed: {escape(reason)}", highlight=False, soft_wrap=True)
            return


if __name__ == "__main__":
    sys.exit(main())
