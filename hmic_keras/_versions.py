"""Versions of what a result depends on, for manifests."""

import platform
from importlib import metadata

from . import __version__


def library_versions(*names: str) -> dict[str, str]:
    """Returns the versions of this package, Python and libraries.

    Args:
        *names: Distributions, named as pip does.
    """
    found = {name: metadata.version(name) for name in names}
    return {"hmic_keras": __version__, "python": platform.python_version(), **found}
