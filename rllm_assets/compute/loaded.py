"""Exceptions by name, without importing what defines them."""

import sys
from collections.abc import Mapping, Sequence


def loaded_errors(names: Mapping[str, Sequence[str]]) -> tuple[type[Exception], ...]:
    """Return the exceptions of those modules that are loaded, by module and name: no other can have been raised."""
    return tuple(
        getattr(sys.modules[module], name)
        for module, of_module in names.items()
        if module in sys.modules
        for name in of_module
    )
