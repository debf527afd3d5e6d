"""Deploys in a process of its own, says so, and waits until its terminal is closed or it is killed.

deployer.py SERVABLE_FILE ROOT ENGINE, where ENGINE is `transformers` or a behaviour of fake_server.py.
"""

import fcntl
import os
import signal
import sys
import termios
from pathlib import Path

from rllm_assets.serving import Servable, deploy_local
from rllm_assets.serving.engines import Launch, transformers_serve

# Whoever started the tests may have had it ignored.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if os.isatty(0):
    # Being the leader of its session, it gets this terminal as the one whose closing ends it.
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
servable = Servable.model_validate_json(Path(sys.argv[1]).read_text())
root, behaviour = Path(sys.argv[2]), sys.argv[3]


def fake(model: str, port: int, _directory: Path) -> Launch:
    script = str(Path(__file__).with_name("fake_server.py"))
    return Launch((sys.executable, "-IS", script, str(port), model, behaviour), os.environ)


endpoint = deploy_local(
    servable,
    root,
    "rllm",
    smoke_messages=[{"role": "user", "content": "w1 w2"}],
    engine=transformers_serve if behaviour == "transformers" else fake,
)
print(endpoint.model_dump_json(), flush=True)
signal.pause()
