"""Packages to install, made here, so that no test needs a package index."""

import zipfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path


def wheel(directory: Path, name: str, code: str, version: str = "1.0", needs: str = "", plugin: bool = False) -> None:
    """Write a wheel of one module."""
    _write(directory, name, version, {f"{name}.py": code}, [needs] if needs else [], plugin=plugin)


def repacked(directory: Path, name: str, version: str, needs: tuple[str, ...] = ()) -> None:
    """Write a wheel of what is installed here, under another version."""
    files = metadata.distribution(name).files or ()
    code = {str(file): file.read_text() for file in files if file.suffix == ".py"}
    _write(directory, name, version, code, needs)


def _write(
    directory: Path, name: str, version: str, code: Mapping[str, str], needs: Sequence[str], *, plugin: bool = False
) -> None:
    info = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = {
        **code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[pytest11]\n{name} = {name}\n" if plugin else "",
    }
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as file:
        for path, text in files.items():
            file.writestr(path, text)
        file.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD")))
