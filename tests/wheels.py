"""Packages to install, made here, so that no test needs a package index."""

import zipfile
from pathlib import Path

_RECORD = "{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/entry_points.txt,,\n{info}/RECORD,,\n"


def wheel(directory: Path, name: str, code: str, version: str = "1.0", needs: str = "", plugin: bool = False) -> None:
    """Write a wheel of one module."""
    info = f"{name}-{version}.dist-info"
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", code)
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/entry_points.txt", f"[pytest11]\n{name} = {name}\n" if plugin else "")
        file.writestr(f"{info}/RECORD", _RECORD.format(name=name, info=info))
