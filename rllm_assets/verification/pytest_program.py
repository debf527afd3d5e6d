"""Inside the sandbox: run the tests of a tree with pytest, and write down what became of each.

Two processes: pytest and the candidate's code share one; the other keeps the word that makes a result valid, which the first
has never held, hears the reports through a pipe, and sees how the first one ended. Standard library and pytest only.

pytest's own start takes longer than most tests. What of it is the same for every job happens before the fork.
"""
# ruff: noqa: PTH109, PTH112, PTH118

import fnmatch
import json
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rllm_assets.verification import tree_program

if TYPE_CHECKING:
    from _pytest.config import Config

_LONGEST_LINE, _MOST_LINES = 1 << 16, 100_000
_LONGEST_MESSAGE = 500
_NONCE_BYTES = 64
# How often to look whether pytest is gone while something that it left behind keeps the pipe open.
_LOOK_SECONDS = 0.05
# The first one writes files; without their options, the others do nothing but be asked.
_UNUSED_PLUGINS = ("cacheprovider", "pastebin", "setuponly", "setupplan", "stepwise")
# Other traceback styles look for each module's source in all that are loaded, and nobody reads it.
_OPTIONS = (
    "-q",
    "--tb=native",
    "--override-ini=addopts=",
    "--continue-on-collection-errors",
    *(f"-pno:{plugin}" for plugin in _UNUSED_PLUGINS),
)
# Libraries of arithmetic start a thread for each core, which counts against the limit on processes.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_prepared: list["Config"] = []


def prepare() -> None:
    """Make pytest ready for a run, with its own plugins registered."""
    from _pytest.config import get_config
    from _pytest.fixtures import FixtureFunctionDefinition, FixtureManager

    config = get_config(_OPTIONS)
    _prepared.append(config)
    # Every run looks at each name in every plugin for fixtures. Of pytest's own, only modules have any, and these are told.
    for plugin in config.pluginmanager.get_plugins():
        if isinstance(plugin, ModuleType):
            fixtures = [name for name, value in vars(plugin).items() if isinstance(value, FixtureFunctionDefinition)]
            plugin.__dir__ = fixtures.copy
    # Patterns that collecting compares names with; compiling them takes longer than most tests.
    for pattern in (*config.getini("norecursedirs"), "test*.txt"):
        fnmatch.fnmatch("", pattern)
    look = FixtureManager.pytest_plugin_registered

    def look_elsewhere(self: FixtureManager, plugin: object, plugin_name: str) -> None:
        if not type(plugin).__module__.startswith("_pytest."):
            look(self, plugin, plugin_name)

    FixtureManager.pytest_plugin_registered = look_elsewhere


def main(payload: int, result: int) -> None:
    """Read a tree and the files to test from `payload`, run them, and write one JSON line to `result`."""
    length = int.from_bytes(os.pread(payload, 8, 0), "big")
    heard, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        code = 70
        try:
            job = json.loads(os.pread(payload, length, 8))
            tree_program.lay_out(payload, 8 + length + _NONCE_BYTES, job["tree"])
            os.close(payload)
            os.close(result)
            code = _run(job, tell)
        # Of the tree or of pytest itself; where it is the candidate's doing, it has only harmed itself.
        except Exception as error:  # noqa: BLE001
            _Reporter(tell).not_started(f"{type(error).__name__}: {error}")
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(tell)
    events = list(_listen(heard, child))
    # Only now, and only here: in the other process this was never in memory.
    nonce = os.pread(payload, _NONCE_BYTES, 8 + length).decode()
    _, status = os.waitpid(child, 0)
    line = json.dumps({"events": events, "code": os.waitstatus_to_exitcode(status), "nonce": nonce})
    data = line.encode()
    while data:
        data = data[os.write(result, data) :]


def _listen(heard: int, child: int) -> Iterator[Any]:
    """Yield what the other process says until it closes the pipe or ends."""
    rest, lines = b"", 0
    os.set_blocking(heard, False)
    gone = False
    while lines < _MOST_LINES:
        ready, _, _ = select.select([heard], [], [], 0 if gone else _LOOK_SECONDS)
        if not ready:
            if gone:
                return
            gone = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            continue
        part = os.read(heard, 1 << 16)
        if not part:
            return
        *whole, rest = (rest + part).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            return
        for line in whole:
            lines += 1
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield ["unreadable"]


def _run(job: dict, tell: int) -> int:
    """Run pytest on the tree in this directory; return its exit code."""
    root = os.getcwd()
    os.environ.update(HOME=root, TZ="UTC", LANG="C.UTF-8", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", **_ONE_THREAD)
    sys.path[:0] = [path for path in (root, os.path.join(root, "src")) if os.path.isdir(path)]
    sys.dont_write_bytecode = True
    plugins = [f"-p{name}" for name in job["plugins"]]
    return _pytest([*_OPTIONS, *plugins, f"--rootdir={root}", *job["test_files"]], _Reporter(tell))


def _pytest(options: list[str], reporter: "_Reporter") -> int:
    """Do what `pytest.main` does, or what `prepare` leaves of it; return its exit code."""
    from _pytest.config import ConftestImportFailure, ExitCode, UsageError, _prepareconfig

    config = _prepared.pop() if _prepared else None
    try:
        if config is None:
            config = _prepareconfig(options, [reporter])
        else:
            config.invocation_params = config.InvocationParams(args=options, plugins=[reporter], dir=Path.cwd())
            config.pluginmanager.register(reporter)
            config.hook.pytest_cmdline_parse(pluginmanager=config.pluginmanager, args=options)
        return int(config.hook.pytest_cmdline_main(config=config))
    except (ConftestImportFailure, UsageError) as error:
        reporter.not_started(str(error).replace(f"{Path.cwd()}/", ""))
        return int(ExitCode.USAGE_ERROR)
    finally:
        if config is not None:
            config._ensure_unconfigure()


class _Reporter:
    """Tells every report to the other process."""

    def __init__(self, tell: int) -> None:
        self._tell = tell

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Tell how one phase of a test ended."""
        expected = str(report.wasxfail) if hasattr(report, "wasxfail") else None
        self._say(["test", report.nodeid, report.when, report.outcome, expected, _message(report)])

    def pytest_collectreport(self, report: Any) -> None:
        """Tell what could not be collected."""
        if report.outcome == "failed":
            self._say(["collect", report.nodeid, _message(report)])

    def not_started(self, reason: str) -> None:
        """Tell why no test ran at all."""
        self._say(["collect", "", reason[:_LONGEST_MESSAGE]])

    def _say(self, event: list) -> None:
        data = json.dumps(event).encode() + b"\n"
        while data:
            data = data[os.write(self._tell, data) :]


def _message(report: Any) -> str:
    if report.outcome != "failed" or report.longrepr is None:
        return ""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message) if crash is not None else str(report.longrepr).strip().rpartition("\n")[2]
    return text.removeprefix("E ").strip()[:_LONGEST_MESSAGE]
