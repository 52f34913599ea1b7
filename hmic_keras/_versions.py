"""Versions of what a result depends on, for manifests."""

import platform
import sys
from importlib import metadata

from . import __version__


def versions(*more: str) -> dict[str, str]:
    """Returns the versions of this package, Python and the libraries a result depends on.

    Those are Keras, its backend and NumPy.

    Args:
        *more: Further distributions, named as pip does.
    """
    # Keras is asked only where it runs already: a ground floor does not load it.
    keras = sys.modules.get("keras")
    backend = keras.config.backend() if keras is not None else "tensorflow"
    names = (backend, "keras", "numpy", *more)
    found = {name: metadata.version(name) for name in names}
    return {"hmic_keras": __version__, "python": platform.python_version(), **found}
