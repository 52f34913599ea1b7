"""Versions of what a result depends on, for manifests."""

import platform
from importlib import metadata

from . import __version__


def versions(*more: str) -> dict[str, str]:
    """Returns the versions of this package, Python and the libraries a result depends on.

    Args:
        *more: Further distributions, named as pip does.
    """
    names = ("tensorflow", "keras", "numpy", *more)
    found = {name: metadata.version(name) for name in names}
    return {"hmic_keras": __version__, "python": platform.python_version(), **found}
