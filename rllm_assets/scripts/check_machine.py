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
    _look_for_kernels(console)
    from rllm_assets.sandbox import grades

    problem = grades.probe("strong")
    if problem is None:
        return 0
    console.print(f"[red]no strong sandbox:[/] {escape(problem)}", highlight=False, soft_wrap=True)
    console.print(
        f"model-written code is not run without one; on Debian and Ubuntu: {HOW}", highlight=False, soft_wrap=True
    )
    return 1


def _look_for_kernels(console: Console) -> None:
    import torch

    from rllm_assets.models import kernels
    from rllm_assets.models.hardware import multiplies_bfloat16

    if multiplies_bfloat16("cpu") and not kernels.are_usable(torch.bfloat16, torch.device("cpu")):
        console.print(
            "without a C++ compiler the kernels were not built, and training on this CPU takes a tenth longer; on Debian and "
            "Ubuntu: sudo apt-get install -y g++, then make clean setup",
            highlight=False,
            soft_wrap=True,
        )


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
