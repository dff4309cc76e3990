"""Packages that only some tasks need: each belongs to an extra, and a missing one is named with its command."""

import sys
from importlib import import_module
from typing import Any

# The name of the distribution where it is not that of the module.
_DISTRIBUTIONS = {"PIL": "Pillow", "av": "PyAV"}


def need(module: str, extra: str, purpose: str) -> Any:
    """The module, or ImportError with the command that installs it: ``purpose`` is what asks for it.

    >>> need("math", "vision", "a picture").pi
    3.141592653589793
    """
    loaded = sys.modules.get(module)
    if loaded is not None:
        return loaded
    try:
        return import_module(module)
    except ImportError:
        name = _DISTRIBUTIONS.get(module, module)
        raise ImportError(f"{purpose} needs {name}: pip install 'afterlogits[{extra}]'") from None
